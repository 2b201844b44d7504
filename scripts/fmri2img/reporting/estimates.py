"""Estimates: the mean of every cell of a design with its interval, and a gap wherever Scores are incomplete."""

from collections.abc import Iterable

import pandas as pd

from fmri2img.reporting.chances import pool_chances
from fmri2img.reporting.design import Design
from fmri2img.reporting.suspicions import suspicions
from fmri2img.stats.bootstrap import summarise

BOOTSTRAP_SEED = 0


def at_budgets(scores: pd.DataFrame, design: Design) -> pd.DataFrame:
    """Scores of the design with a column `budget` (label). A row counts for every budget that has its sessions."""
    wanted = [(method, seed) for method in design.methods for seed in design.seeds_of(method)]
    scores = scores[
        scores["metric"].isin(design.metrics) & pd.MultiIndex.from_frame(scores[["method", "seed"]]).isin(wanted)
    ]
    cells = [
        (label, subject, sessions)
        for label, of_subject in design.budgets.items()
        for subject, sessions in of_subject.items()
    ]
    return scores.merge(pd.DataFrame(cells, columns=["budget", "subject", "sessions"]), on=["subject", "sessions"])


def scored_design(study, scores: pd.DataFrame, lacking: Iterable[dict] = ()) -> Design:
    """Design of a study (fmri2img.study.Study), completed from its scores: chance levels that depend on its test
    images, and suspicions about methods. lacking: of `gaps.missing_scores`."""
    design, pool = Design.of(study).with_gaps(list(lacking)), study.config["retrieval"]["pool"]
    registry = {name: study.registries["metrics"][name] for name in design.metrics}
    design = design.with_chances(pool_chances(scores, registry, pool))
    return design.with_suspicions(suspicions(scores, registry, pool, study.submissions))


def intervals(scores: pd.DataFrame, by: list[str], design: Design, confidence: float | None = None) -> pd.DataFrame:
    """`stats.summarise` with the study's settings, indexed by `by`. confidence: the study's, if not given."""
    confidence = confidence or design.confidence
    found = summarise(scores, by=by, resamples=design.resamples, confidence=confidence, seed=BOOTSTRAP_SEED)
    return found.set_index(by)


def _complete(labelled: pd.DataFrame, design: Design, keys: list[str]) -> pd.Series:
    """Whether every image of every subject and seed is there, per group of `keys` (index) that has any row.

    The images a subject must have are those any method was scored on.
    """
    n_images = labelled.groupby(["subject", "metric"])["image_id"].nunique()
    cells = labelled.groupby([*keys, *([] if "subject" in keys else ["subject"]), "seed"])["value"]
    table = cells.agg(rows="size", defined="count").reset_index()
    table["wanted"] = n_images.loc[list(zip(table["subject"], table["metric"], strict=True))].to_numpy()
    table["whole"] = (table["rows"] == table["wanted"]) & (table["defined"] > 0)
    found = table.groupby(keys)["whole"].sum()
    seeds = found.index.get_level_values("method").map(lambda method: len(design.seeds_of(method)))
    return found == seeds * (1 if "subject" in keys else len(design.subjects))


def estimates(scores: pd.DataFrame, design: Design, by_subject: bool = False) -> pd.DataFrame:
    """One row for every budget, method, metric (and subject) of the design, present in Scores or not.

    Columns: budget, method, [subject,] metric, sessions (text), mean, low, high, n_images, n_subjects, n_seeds,
    n_excluded (undefined values).
    A cell that lacks an image, a subject or a seed has mean, low and high NaN: its mean would not be comparable.
    """
    subjects = {"subject": design.subjects} if by_subject else {}
    index = {"budget": list(design.budgets), "method": list(design.methods), **subjects, "metric": list(design.metrics)}
    keys = list(index)
    labelled = at_budgets(scores, design)
    table = pd.DataFrame(index=pd.MultiIndex.from_product(index.values(), names=keys))
    columns = ["mean", "low", "high", "n_images", "n_subjects", "n_seeds", "n_excluded"]
    if labelled.empty:
        table[columns[:3]], table[columns[3:]] = float("nan"), 0
    else:
        table = table.join(intervals(labelled, keys, design)[columns])
        whole = _complete(labelled, design, keys).reindex(table.index, fill_value=False)
        table.loc[~whole, ["mean", "low", "high"]] = float("nan")
        table[columns[3:]] = table[columns[3:]].fillna(0).astype(int)
    table = table.reset_index()
    if by_subject:
        sessions = [str(design.budgets[b][s]) for b, s in zip(table["budget"], table["subject"], strict=True)]
    else:
        sessions = [design.budget(b).count for b in table["budget"]]
    table.insert(len(keys), "sessions", sessions)
    return table
