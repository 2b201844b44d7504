"""METEOR of each caption, as a module of Hugging Face's `evaluate` that needs no network.

evaluate.load("scripts/fmri2img/metrics/evaluate_modules/meteor").compute(predictions=[...], references=[[...], ...])
"""

import datasets
import evaluate
import nltk
from nltk.corpus.reader import WordNetCorpusReader
from nltk.tokenize import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktSentenceTokenizer
from nltk.translate.meteor_score import meteor_score


class _NoSynonyms:
    """A WordNet without entries."""

    def synsets(self, word: str) -> list:
        return []


class _WordNet(WordNetCorpusReader):
    """WordNet in any folder, not only where nltk's downloader puts it."""

    def __init__(self, folder: str) -> None:
        if folder not in nltk.data.path:
            nltk.data.path.append(folder)  # nltk reads nothing outside of its data path
        super().__init__(folder, None)

    def map_wn(self, version: str = "wordnet") -> None:
        """Do nothing: a mapping between versions is for other languages and needs nltk's own copy."""


class Meteor(evaluate.Metric):
    """METEOR of nltk: words aligned by form, then Porter stem, then WordNet synonym; alpha 0.9, beta 3, gamma 0.5.

    wordnet: the directory of WordNet 3.0's files (data.noun, ...). Without it the last stage of the alignment is left
    out, and values are lower than METEOR's: report them under another name. The best of several references counts.

    A text is split into sentences by Punkt's rules and these into words by the Treebank rules, as in nltk's
    word_tokenize and in `evaluate`, but without the list of English abbreviations that nltk downloads. So a full stop
    after an abbreviation ("St. Louis") is a separate word here. nltk looks up synonyms under the stem of a word, so it
    finds few; this is kept because published values come from it. Returns {"meteor": list of floats}.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="Lavie & Agarwal, METEOR, ACL workshop on statistical machine translation (2007)",
            inputs_description="predictions: sentences; references: a list of sentences for each of them",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
            ),
        )

    def _compute(self, predictions: list[str], references: list[list[str]], wordnet: str | None = None) -> dict:
        synonyms = _WordNet(wordnet) if wordnet else _NoSynonyms()
        sentences, treebank = PunktSentenceTokenizer(), NLTKWordTokenizer()

        def words(text: str) -> list[str]:
            return [word for sentence in sentences.tokenize(text) for word in treebank.tokenize(sentence)]

        return {
            "meteor": [
                meteor_score([words(text) for text in several], words(one), wordnet=synonyms)
                for several, one in zip(references, predictions, strict=True)
            ]
        }
