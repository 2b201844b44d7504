"""Two studies that differ only in the split: do scores hold when whole clusters are held out?

The two test sets are different images, so a score is compared with those of its own split's controls. Raw values show
how hard the images are; values between floor and ceiling show how much of the decodable information was decoded.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fmri2img.reporting.design import GAP, Design
from fmri2img.reporting.estimates import BOOTSTRAP_SEED, at_budgets, estimates
from fmri2img.reporting.leaderboard import scale_end
from fmri2img.reporting.tables import Cell, Row, Table, column, share_cell
from fmri2img.settings.base import problem
from fmri2img.stats.bootstrap import bootstrap_groups, image_values, percentile_interval
from fmri2img.stats.scale import normalised_score

# Keys of the configuration in which two studies may differ while their scores remain comparable.
MAY_DIFFER = {
    "study", "plugins", "subjects", "sessions", "seeds", "methods", "retrieval_only", "submissions", "metrics", "split",
    "test_sets", "cluster_split", "compare_with", "encoding", "bottleneck", "statistics",
}  # fmt: skip
DIFFERENCE = "difference"
COLUMNS = [
    "budget", "metric", "method", "split", "mean", "low", "high", "n_images", "normalised", "normalised_low",
    "normalised_high",
]  # fmt: skip


@dataclass(frozen=True)
class Side:
    """Scores (artifacts.scores) of one test set with their design, metrics of the whole set left out."""

    scores: pd.DataFrame
    design: Design


def check_comparable(study, other: dict) -> None:
    """Check that a study (fmri2img.study.Study) and another one's effective configuration differ in their split alone.

    Sections of methods that neither the study has nor its methods build on do not count. Raises UserError naming the
    first section that differs.
    """
    config, registry = study.config, study.registries["methods"]
    used = {registry[method].get("folder") for method in study.described}
    unused = study.settings.methods_sections.keys() - used
    if config["split"] == other["split"]:
        raise problem(
            "compare_with", f"study {other['study']} also has split {other['split']}; name a study with another split"
        )
    for section in [key for key in config if key not in MAY_DIFFER | unused]:
        if config[section] != other.get(section):
            raise problem(
                "compare_with",
                f"study {other['study']} has a different '{section}'; run it again with this "
                "study's, so that only the split differs",
            )


def common_budget(here: Design, there: Design) -> str:
    """The longest budget that both studies have. Raises UserError when they have none, or not the same subjects."""
    if here.subjects != there.subjects:
        raise problem(
            "compare_with",
            f"study {there.study} has subjects {', '.join(there.subjects)}, this one "
            f"{', '.join(here.subjects)}; they must be the same",
        )
    labels = [label for label in here.budgets if label in there.budgets]
    if not labels:
        raise problem("compare_with", f"study {there.study} has none of this study's sessions")
    return max(labels, key=lambda label: sum(here.budgets[label].values()))


def split_effects(here: Side, there: Side, budget: str) -> pd.DataFrame:
    """One row for each metric and method that both have in full, and split (there's, here's, DIFFERENCE): COLUMNS.

    Differences are here less there. Intervals are bootstrap intervals over images, of either split on its own; brain
    correlation is compared only where both studies measure it by the same encoding model. Raises UserError when
    nothing is left to compare.
    """
    found = [resampled_cells(side, budget, BOOTSTRAP_SEED + number) for number, side in enumerate((there, here))]
    same_model = here.design.encoding == there.design.encoding
    rows = []
    for metric, entry in here.design.metrics.items():
        for method in here.design.methods:
            key = metric, method
            if any(key not in cells.index for cells, _, _ in found) or (entry["needs"] == "brain" and not same_model):
                continue
            for side, (cells, resampled, shares) in zip((there, here), found, strict=True):
                interval = resampled[key].interval(side.design.confidence)
                share = shares.get(key, (np.nan,) * 3)
                images = cells.loc[key, "n_images"]
                rows.append([budget, metric, method, side.design.split, resampled[key].mean, *interval, images, *share])
            other, own = (resampled[key] for _, resampled, _ in found)
            gap = percentile_interval(own.draws - other.draws, here.design.confidence, min(own.images, other.images))
            rows.append([budget, metric, method, DIFFERENCE, own.mean - other.mean, *gap, np.nan, *(np.nan,) * 3])
    if not rows:
        raise problem(
            "compare_with",
            f"no method has all its scores both here and in study {there.design.study}; "
            "finish both with the same methods and metrics",
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def resampled_cells(side: Side, budget: str, seed: int) -> tuple[pd.DataFrame, dict, dict]:
    """Complete cells of one side, by metric and method: estimates, their draws, and normalised scores.

    seed: of the draws; sides with different images are drawn independently.
    """
    keys = ["metric", "method"]
    cells = estimates(side.scores, side.design)
    cells = cells[(cells["budget"] == budget) & cells["mean"].notna()]
    labelled = at_budgets(side.scores, side.design)
    labelled = labelled[labelled["budget"] == budget].merge(cells[keys], on=keys)
    if labelled.empty:
        return cells.set_index(keys), {}, {}
    found = bootstrap_groups(image_values(labelled, keys), keys, side.design.resamples, seed)
    cells, shares = cells.set_index(keys), {}
    for metric, method in cells.index:
        sign = 1 if side.design.metrics[metric]["higher_is_better"] else -1
        ends = [(metric, scale_end(side.design, method, end, metric)) for end in ("floor", "ceiling")]
        if all(end in cells.index for end in ends):
            oriented = [found[key].times(sign) for key in ((metric, method), *ends)]
            shares[metric, method] = normalised_score(*oriented, side.design.confidence)
    return cells, found, shares


def split_table(effects: pd.DataFrame, design: Design) -> Table:
    """`split_effects` of this design: methods down, each with both splits and their difference; metrics across, the
    normalised score behind the raw one."""
    lookup, rows = effects.set_index(["metric", "method", "split"]), []
    splits, shown = effects["split"].unique(), design.metrics_in(effects)
    for method in dict.fromkeys(effects["method"]):
        for place, split in enumerate(splits):
            cells = [_cell(lookup, (name, method, split), design.metrics[name]) for name in shown]
            rows.append(
                Row(["" if place else design.methods[method]["title"], split], cells, place == 0 and bool(rows))
            )
    columns = [replace(column(design.metrics[name]), chance="") for name in shown]  # of retrieval it differs
    images = effects.dropna(subset="n_images").groupby("split", sort=False)["n_images"].max()
    counts = " and ".join(f"{int(n)} test images of {split}" for split, n in images.items())
    note = (
        f"Mean [{100 * design.confidence:g} % bootstrap interval over images]; then, in percent, its position between "
        "the floor and the ceiling of the same split. Test images and the chance levels of retrieval differ between "
        "the splits, so compare the percentages. Differences are of raw means. Trained on "
        f"{design.budget(effects['budget'].iloc[0]).title}; {counts}; {design.data}."
    )
    return Table(f"Scores on {splits[1]} next to {splits[0]}", ["Method", "Split"], columns, rows, note)


def _cell(lookup: pd.DataFrame, key: tuple, metric: dict) -> Cell:
    if key not in lookup.index:
        return Cell(GAP)
    row = lookup.loc[key]
    return share_cell(row, row["normalised"], metric)
