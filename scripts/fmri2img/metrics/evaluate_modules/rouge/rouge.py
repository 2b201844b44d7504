"""ROUGE of each caption, as a module of Hugging Face's `evaluate` that needs no network.

evaluate.load("scripts/fmri2img/metrics/evaluate_modules/rouge").compute(predictions=[...], references=[[...], ...])
"""

import datasets
import evaluate
from rouge_score.rouge_scorer import RougeScorer

VARIANTS = ["rouge1", "rouge2", "rougeL"]


class Rouge(evaluate.Metric):
    """F-measure of overlapping words (rouge1), word pairs (rouge2) and longest common subsequence (rougeL).

    Words are lower-cased runs of letters and digits without stemming, the defaults of `evaluate`'s own module. With
    several references, each measure is that of the best one. Returns one list of floats for each measure.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__,
            citation="Lin, ROUGE: A Package for Automatic Evaluation of Summaries, ACL workshop (2004)",
            inputs_description="predictions: sentences; references: a list of sentences for each of them",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
            ),
        )

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, list[float]]:
        scorer = RougeScorer(VARIANTS, use_stemmer=False)
        found = [scorer.score_multi(several, one) for several, one in zip(references, predictions, strict=True)]
        return {variant: [scores[variant].fmeasure for scores in found] for variant in VARIANTS}
