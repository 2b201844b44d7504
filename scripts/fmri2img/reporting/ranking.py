"""The order of test images in a report: by rank and not by hand, whatever metrics a study has."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.scores import WHOLE_SET
from fmri2img.reporting.design import Design, is_proportion, matching, number
from fmri2img.reporting.estimates import at_budgets


@dataclass(frozen=True)
class Ranking:
    """Test images of a subject.

    means: mean score by image_id, best first; NaN, in the order of image_id, where no metric has values for single
    images. method: the one that was scored; metrics: those that the mean is over. Both are empty where there is no
    score.
    """

    means: pd.Series
    method: str
    metrics: dict[str, dict]

    @property
    def ids(self) -> np.ndarray:
        """image_id, int64 (images,), best first."""
        return self.means.index.to_numpy(np.int64)

    @property
    def is_share(self) -> bool:
        """Whether scores are shares of correct choices."""
        return all(map(is_proportion, self.metrics.values()))

    @property
    def lower_is_better(self) -> bool:
        return not all(metric["higher_is_better"] for metric in self.metrics.values())

    def score(self, image_id: int) -> str:
        """An image's mean score as shown, "" where there is none."""
        value, metrics = self.means[image_id], list(self.metrics.values())
        if value != value:
            return ""
        return f"{number(value, metrics[0])}{' %' if self.is_share else ''}"

    def at(self, ranks: Iterable[float]) -> dict[float, int]:
        """Fraction of the ranking (0 the best, 1 the worst) -> image_id; each image once, where there are few."""
        found: dict[int, float] = {}
        for rank in ranks:
            found.setdefault(int(self.ids[round(rank * (len(self.ids) - 1))]), rank)
        return {rank: image_id for image_id, rank in found.items()}


def ranking(scores: pd.DataFrame, design: Design, subject: str, rank_by: list[str], predictions: dict) -> Ranking:
    """Test images of a subject, best first, by the first decoder with scores, trained on the longest budget; by another
    method where no decoder has any.

    rank_by: patterns of the metrics (shares of correct choices) that are used where the study has them; else its other
    shares are, else its first metric of single images. An image counts with its mean over them and over seeds (ties:
    lower image_id first). predictions: `grids.index_predictions`, whose images are listed where none has a score.
    """
    labelled = at_budgets(scores, design)
    rows = labelled[(labelled["subject"] == subject) & (labelled["budget"] == design.longest_budget)]
    rows = rows[rows["image_id"] != WHOLE_SET].dropna(subset="value")
    for metrics in _choices(design, rank_by):
        chosen = rows[rows["metric"].isin(metrics)]
        if len(chosen):
            first = min(chosen["method"].unique(), key=[*design.decoders, *design.methods].index)
            means = chosen[chosen["method"] == first].groupby("image_id")["value"].mean().sort_index()
            upwards = not design.metrics[metrics[0]]["higher_is_better"]
            ordered = means.sort_values(ascending=upwards, kind="stable")
            return Ranking(ordered, first, {name: design.metrics[name] for name in metrics})
    path = next(path for (_, of, *_), path in predictions.items() if of == subject)
    return Ranking(pd.Series(np.nan, index=Prediction.open(path).ids), "", {})


def _choices(design: Design, rank_by: list[str]) -> Iterator[list[str]]:
    """Lists of metrics to rank by, the best first. Where no decoder makes pictures, `rank_by` would not judge them."""
    metrics = design.of_images().metrics
    shares = [name for name, entry in metrics.items() if is_proportion(entry)]
    if any("images" in design.methods[name]["outputs"] for name in design.decoders):
        yield matching(shares, rank_by)
    yield shares
    yield from ([name] for name in metrics)


def rank_name(rank: float) -> str:
    """Name of a rank: "best", "upper quartile", "median", "lower quartile", "worst", or its share."""
    names = {0.0: "best", 0.25: "upper quartile", 0.5: "median", 0.75: "lower quartile", 1.0: "worst"}
    return names.get(rank, f"{100 * rank:g} % down")
