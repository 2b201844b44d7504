"""A small study's Design and the records of its predictions, made by hand."""

from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.reporting.design import Design

DISCLOSURE = Disclosure(
    training_trials=750,
    training_subjects=["subj01"],
    trial_averaging="single",
    test_averaging="mean of repeats",
    encoder="clip",
    generator="unclip",
    origin="port",
).record()
IDENTIFICATION = {
    "title": "Identification (net)", "range": [0, 1], "higher_is_better": True, "needs": "images", "chance": 0.5,
}  # fmt: skip


def small_design(**changes) -> Design:
    """Two subjects with 8 and 6 sessions, budgets of 1 and all sessions, two seeds; no method and no metric."""
    budgets = {"1": {"subj01": 1, "subj02": 1}, "all": {"subj01": 8, "subj02": 6}}
    fields = {
        "study": "small", "dataset": "nsd", "data": "simulated data", "simulated": True, "split": "shared1000",
        "test_sets": ["shared1000"], "subjects": ["subj01", "subj02"], "methods": {},
        "metrics": {}, "budgets": budgets, "seeds": [0, 1], "resamples": 300, "confidence": 0.95,
    }  # fmt: skip
    return Design(**fields | changes)
