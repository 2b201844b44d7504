"""BLEU of each caption, as a module of Hugging Face's `evaluate` that needs no network.

evaluate.load("scripts/fmri2img/metrics/evaluate_modules/bleu").compute(predictions=[...], references=[[...], ...])
"""

import datasets
import evaluate
from nltk.tokenize import NLTKWordTokenizer
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu


class Bleu(evaluate.Metric):
    """BLEU of single sentences, up to `order` words in a row, lower-cased, Treebank words.

    Counts of two and more words are smoothed by one (Lin & Och, ACL 2004), because a sentence often has no four
    consecutive words right. The mean over sentences is not the corpus BLEU of caption leaderboards, which first pools
    counts over all sentences. Returns {"bleu": list of floats}.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="Papineni et al., BLEU, ACL (2002)",
            inputs_description="predictions: sentences; references: a list of sentences for each of them",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
            ),
        )

    def _compute(self, predictions: list[str], references: list[list[str]], order: int = 4) -> dict:
        smoothing, weights = SmoothingFunction().method2, [1 / order] * order

        def words(text: str) -> list[str]:
            return NLTKWordTokenizer().tokenize(text.lower())

        return {
            "bleu": [
                float(sentence_bleu([words(text) for text in several], words(one), weights, smoothing))
                for several, one in zip(references, predictions, strict=True)
            ]
        }
