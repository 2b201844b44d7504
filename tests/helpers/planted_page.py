"""A small study's page with known contents; python tests/helpers/planted_page.py FOLDER writes FOLDER/page.html.

With an argument `many`, the page has the 25 methods of `many_methods` in place of five; with `gaps`, the first method
has no scores, and the second lacks those of a subject, because jobs failed.
"""

import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from designs import DISCLOSURE, small_design
from PIL import Image

from fmri2img.artifacts.prediction import save_prediction
from fmri2img.artifacts.stimuli import Stimuli, save_stimuli
from fmri2img.metrics.registry import is_scored
from fmri2img.reporting.claims import judge_claims
from fmri2img.reporting.design import GAP, Design, is_of_whole_set
from fmri2img.reporting.estimates import estimates
from fmri2img.reporting.leaderboard import rank_methods
from fmri2img.reporting.page.build import Parts, page
from fmri2img.reporting.page.costs import COLUMNS as COSTS
from fmri2img.reporting.page.pictures import picture_data
from fmri2img.reporting.similarity import quarter_means, similarity_effects, with_similarity
from fmri2img.reporting.tables import Cell, Column, Row, Table
from fmri2img.reporting.test_sets import cells_by_test_set

N_IMAGES, SIDE = 12, 8
HOSTILE = '</script><script>alert("title")</script> & <b>"bold"</b>'
# Identification at the longest budget; one session is 0.1 worse.
LEVELS = {"first": 0.8, "second": 0.7, "sent": 0.75, "floor": 0.5, "ceiling": 0.9}


def planted_design() -> Design:
    proportion = {"range": [0, 1], "higher_is_better": True, "needs": "images"}
    return small_design(
        study="planted",
        methods={
            "first": {"title": "First", "kind": "decoder", "outputs": ["images", "captions"], "reference": HOSTILE},
            "second": {"title": HOSTILE, "kind": "stage", "of": "first", "outputs": ["images"]},
            "sent": {"title": "Sent in", "kind": "submission", "outputs": ["retrieval"]},
            "floor": {"title": "Floor", "kind": "control", "of": "first", "scale": {"floor": ["images"]},
                      "outputs": ["images"]},
            "ceiling": {"title": "Ceiling", "kind": "control", "scale": {"ceiling": ["images"]}, "outputs": ["images"]},
        },
        metrics={
            "identification_net": {"title": "Identification (net)", "chance": 0.5, "note": HOSTILE, **proportion},
            "distance": {
                "title": "Distance", "range": [0, 2], "higher_is_better": False, "chance": None, "needs": "images",
            },
            "fid": {
                "title": "FID", "range": [0, None], "higher_is_better": False, "chance": None, "needs": "images",
                "unit": "set", "warning": "biased at this sample size.",
            },
        },
        seeds=[0],
        resamples=200,
    )  # fmt: skip


def many_methods() -> dict[str, dict]:
    """Seven families of decoders with variants and stages, a submission, and controls of six kinds: 25 methods.

    `masked` is trained on all sessions only, and `words` makes captions alone.
    """
    families = {
        "linear": ("Linear", []), "shared": ("Shared subject", ["unrefined", "low-level", "not pretrained"]),
        "single": ("Single subject", ["low-level"]), "dual": ("Dual guidance", ["without text", "without vision"]),
        "latents": ("Latents and captions", ["z alone", "c alone"]), "masked": ("Masked modelling", []),
        "words": ("Words", []),
    }  # fmt: skip
    made = {"words": ["captions"]}
    found: dict[str, dict] = {}
    for folder, (title, others) in families.items():
        common = {"folder": folder, "family": title, "outputs": made.get(folder, ["images"]), "reference": title}
        found[folder] = common | {"title": title, "kind": "decoder"}
        for place, other in enumerate(others):
            kind = {"kind": "decoder" if place else "stage", "of": folder}
            found[f"{folder}{place}"] = common | kind | {"title": f"{title} ({other})"}
    found["sent"] = {"title": "Sent in", "kind": "submission", "outputs": ["images"]}
    floor = {"folder": "shuffle", "family": "shuffled brain", "kind": "control", "outputs": ["images"]}
    for folder in ("linear", "shared", "single", "dual", "latents"):
        scale = {"of": folder, "scale": {"floor": ["images"]}}
        found[f"{folder}_floor"] = floor | scale | {"title": f"{families[folder][0]}, shuffled brain"}
    for name in ("Nearest image", "Random image", "Mean image", "True tokens"):
        found[name] = {"title": name, "folder": name, "family": name, "kind": "control", "outputs": ["images"]}
    found["True tokens"]["scale"] = {"ceiling": ["images"]}
    return found


def many_design() -> Design:
    methods = many_methods()
    budgets = {"1": {}, "2": {"subj01": 2, "subj02": 2}} | planted_design().budgets
    captions = {
        "title": "ROUGE-L", "range": [0, 1], "higher_is_better": True, "chance": None, "needs": "captions",
    }  # fmt: skip
    design = replace(planted_design(), study="many", methods=methods, budgets=budgets)
    others = {
        f"identification_{n}": design.metrics["identification_net"] | {"title": f"Identification (net {n})"}
        for n in range(2, 5)
    }
    return replace(
        design, metrics=design.metrics | others | {"caption_rouge": captions}, own_budgets={"masked": ["all"]}
    )


def many_scores(design: Design) -> pd.DataFrame:
    """A level for each method, from the first to the last; one session is 0.1 worse for what is not a control."""
    rng, ids, parts = np.random.default_rng(0), np.arange(N_IMAGES) * 10, []
    for place, (method, entry) in enumerate(design.methods.items()):
        for budget, subject, (metric, about) in product(
            design.budgets_of(method), design.subjects, design.metrics.items()
        ):
            if not is_scored(entry, about):
                continue
            level = 0.85 - 0.012 * place - 0.1 * (budget == "1" and entry["kind"] != "control")
            value = (level + rng.normal(0, 0.02, N_IMAGES)).clip(0, 1)
            worse = not about["higher_is_better"]
            key = {"method": method, "subject": subject, "sessions": design.budgets[budget][subject], "seed": 0}
            key |= {"split": "shared1000", "metric": metric}
            whole = is_of_whole_set(about)
            parts.append(
                pd.DataFrame(
                    key
                    | {
                        "image_id": [-1] if whole else ids,
                        "value": [100 * (1 - level)] if whole else 1.5 - value if worse else value,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def planted_scores(design: Design) -> pd.DataFrame:
    """Identification at LEVELS, worse from the first image to the last; `sent` has no scores at one session."""
    rng, ids, parts = np.random.default_rng(0), np.arange(N_IMAGES) * 10, []
    for method, (budget, of_subject), subject in product(design.methods, design.budgets.items(), design.subjects):
        if method == "sent" and budget == "1":
            continue
        trend = np.linspace(0.05, -0.05, N_IMAGES) + rng.normal(0, 0.004, N_IMAGES)
        level = LEVELS[method] - 0.1 * (budget == "1" and design.methods[method]["kind"] != "control")
        value = (level + trend - trend.mean()).clip(0, 1)
        values = {
            "identification_net": (ids, value),
            "distance": (ids, 1.5 - value),
            "fid": ([-1], [100 * (1 - level)]),
        }
        for metric, (of_images, numbers) in values.items():
            key = {"method": method, "subject": subject, "sessions": of_subject[subject], "seed": 0}
            parts.append(
                pd.DataFrame(
                    key | {"split": "shared1000", "metric": metric, "image_id": of_images, "value": numbers},
                )
            )
    return pd.concat(parts, ignore_index=True)


def planted_pictures(
    folder: Path, design: Design, methods: tuple[str, ...] = ("first", "sent", "floor")
) -> tuple[Stimuli, dict]:
    """Stimuli of one grey level each (their id), and predictions that are brighter by 100, or 90 (all but `first`)."""
    ids = np.arange(N_IMAGES) * 10
    images = np.broadcast_to(ids.astype(np.uint8)[:, None, None, None], (N_IMAGES, SIDE, SIDE, 3))
    table = pd.DataFrame({"image_id": ids, "name": "x", "source": "x", "cluster": None})
    table["captions"], table["categories"] = [[f'a "{i}" <i>'] for i in ids], [["a"]] * N_IMAGES
    save_stimuli(folder / "stimuli", np.ascontiguousarray(images), table, {})
    paths = {}
    for method, budget, subject in product(methods, design.budgets, design.subjects):
        sessions = design.budgets[budget][subject]
        path = paths[method, subject, sessions, 0] = folder / f"{method}_{subject}_{sessions}"
        metadata = {"method": method, "subject": subject, "sessions": sessions, "seed": 0, "split": "shared1000"}
        metadata |= {"split_sha256": "0", "test_set": "shared1000", "disclosure": DISCLOSURE}
        made = images + np.uint8(100 if method == "first" else 90)
        captions = [f"caption {i}" for i in ids] if method == "first" else None
        save_prediction(
            path, ids, metadata, None if method == "sent" else made, captions, retrieval=np.ones((N_IMAGES, 2))
        )
    return Stimuli.open(folder / "stimuli"), paths


def failed(scores: pd.DataFrame, design: Design) -> tuple[pd.DataFrame, Design]:
    """Without the scores of the first method, and those of the second for subj02."""
    first, second = list(design.methods)[:2]
    lost = (scores["method"] == first) | ((scores["method"] == second) & (scores["subject"] == "subj02"))
    cause = {"rule": "finetune", "n_jobs": 3, "job": f"finetune ({first}, subj01)", "log": f"logs/finetune/{first}.log"}
    records = [
        cause | {"method": first, "what": "all", "n_scored": 0, "n_missing": 4, "n_cells": 4, "reason": HOSTILE},
        cause | {"method": second, "what": "subj02", "n_scored": 2, "n_missing": 2, "n_cells": 4,
                 "reason": "step 120: the loss is nan; lower the learning rate", "n_jobs": 1},
    ]  # fmt: skip
    return scores[~lost], design.with_gaps(records)


def narrowed(scores: pd.DataFrame, design: Design, metrics: list[str], images: int) -> tuple[pd.DataFrame, Design]:
    """With these metrics and the first images alone."""
    kept = scores["metric"].isin(metrics) & (scores["image_id"] < 10 * images)
    return scores[kept], replace(design, metrics={name: design.metrics[name] for name in metrics})


def planted_parts(
    folder: Path, many: bool = False, gaps: bool = False, metrics: list[str] | None = None, images: int = N_IMAGES
) -> tuple[Parts, Design]:
    design = many_design() if many else planted_design()
    scores = many_scores(design) if many else planted_scores(design)
    scores, design = narrowed(scores, design, metrics or list(design.metrics), images)
    if gaps:
        scores, design = failed(scores, design)
    cells = estimates(scores, design)
    beats = {"test": "beats", "metrics": ["identification_*"], "note": HOSTILE}
    check, finding = beats | {"kind": "check", "source": ""}, beats | {"kind": "finding", "source": HOSTILE}
    first = next(iter(design.methods))
    claims = [
        check | {"claim": HOSTILE, "methods": first, "than": "floor"},
        finding | {"claim": "Floors beat ceilings", "methods": "floor", "than": "ceiling"},
    ]
    near = pd.DataFrame(
        [
            (subject, sessions, i, 0, 1 - k / N_IMAGES)
            for of_subject in design.budgets.values()
            for subject, sessions in of_subject.items()
            for k, i in enumerate(np.arange(N_IMAGES) * 10)
        ],
        columns=["subject", "sessions", "image_id", "nearest", "cosine"],
    )
    of_images = design.of_images()
    labelled = with_similarity(scores, near, of_images)
    quarters, similarity = quarter_means(labelled, of_images, "all")
    drawn = tuple(name for name, entry in design.methods.items() if "images" in entry["outputs"])
    stimuli, paths = planted_pictures(folder, design, *([drawn] if many else []))
    paths = {key: path for key, path in paths.items() if not design.is_absent(key[0])}
    Image.fromarray(np.full((20, 30, 3), 120, np.uint8)).save(folder / "brain_subj01.png")
    parts = Parts(
        board=rank_methods(scores, cells, design)[0],
        claims=judge_claims(claims, scores, cells, design),
        disclosures=pd.DataFrame({"method": [first], "training_trials": ["219–1728"], "selector": ["none"]}),
        facts=pd.DataFrame({"section": ["study"], "item": ["name"], "value": [HOSTILE]}),
        rank_by=["identification_*"],
        configuration="study: planted  # </pre><script>\n",
        effects=similarity_effects(labelled, of_images),
        curves=(quarters.reset_index(), similarity),
        pictures=picture_data(stimuli, paths, scores, design, ["identification_*"], [0.0, 0.5, 1.0]),
        brain=[folder / "brain_subj01.png"],
        quoted=Table(
            "Published numbers, split shared1000",
            ["Method", "Subjects", "Sessions", "Source"],
            [Column("PixCorr", direction="↑")],
            [
                Row([HOSTILE, "1, 2", "40", "A paper, Table 1"], [Cell("0.322")], False),
                Row(["Older", "1", GAP, "Another, Table 2"], [Cell(GAP)], True),
            ],
            "Quoted from their sources.",
        ),
        splits=Table(
            "Scores on cluster0 next to shared1000",
            ["Method", "Split"],
            [Column("PixCorr", direction="↑")],
            [
                Row(["First", "shared1000"], [Cell("0.511", "[0.43, 0.57] 50 %")], False),
                Row(["", "cluster0"], [Cell(GAP)], False),
            ],
            "Trained on all sessions.",
        ),
        of_sets=cells_by_test_set(
            {"shared1000": scores, HOSTILE: scores.assign(value=0.8 * scores["value"])},
            {"shared1000": design, HOSTILE: design},
        ),
        sources=Table(
            "Scores by image source",
            ["Method", "Source", "Images"],
            [Column("PixCorr", direction="↑"), Column("Networks trained on it")],
            [Row(["First", HOSTILE, "12"], [Cell("0.511", "[0.43, 0.57]"), Cell("a network")], False)],
            f"Confound: {HOSTILE}.",
        ),
        permutations=Table(
            "Permutation tests within subjects",
            ["Method", "Subject"],
            [Column("PixCorr", direction="↑")],
            [Row(["First", "subj01"], [Cell("0.511", "[0.43, 0.57] p 0.012")], False)],
            "Of 999 random assignments.",
        ),
        test_sets=Table(
            "Scores on each test set",
            ["Method"],
            [Column("PixCorr", "shared1000", "↑"), Column("PixCorr", HOSTILE, "↑")],
            [Row(["First"], [Cell("0.511", "[0.43, 0.57]"), Cell("0.234", "[0.15, 0.32]")], False)],
            "Test images: 12 of each.",
        ),
        costs=pd.DataFrame(
            [["evaluate", 4, 200.0, 150.0, 70.0, 1100.0], ["mask", 2, 9.0, 0.0, 5.0, None]], columns=COSTS
        ),
        checksums={"nsd_expdesign.mat": "8" * 64},
    )
    return parts, design


if __name__ == "__main__":
    target = Path(sys.argv[1])
    (target / "page.html").write_text(
        page(*planted_parts(target, "many" in sys.argv[2:], "gaps" in sys.argv[2:])), encoding="utf-8"
    )
