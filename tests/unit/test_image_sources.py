"""Scores by image source: recomputed by hand, with the pool of the whole test set, and the networks that know it."""

import re
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from configurations import merged
from designs import IDENTIFICATION, small_design

from fmri2img.datasets.dataset import DatasetRecord
from fmri2img.errors import UserError
from fmri2img.metrics.features import identification
from fmri2img.paths import REPOSITORY
from fmri2img.reporting.cards import card_facts
from fmri2img.reporting.image_sources import cells_by_source, groups_of, source_table, with_training_data
from fmri2img.reporting.tables import read_csv, write_table
from fmri2img.reporting.training_data import all_networks, networks_of, trained_on
from fmri2img.study import Study

IDS = {"subj01": np.arange(0, 20), "subj02": np.arange(4, 24)}
SOURCES = np.array(
    ["web"] * 12 + ["photographs"] * 8 + ["drawn"] * 4
)  # the second subject alone saw those that are drawn
TABLE = pd.DataFrame(
    {"image_id": range(24), "source": SOURCES, "flag": [None] * 8 + ["outside the crop"] * 2 + [None] * 14}
)
FLAGS = TABLE.set_index("image_id")["flag"].fillna("")


@pytest.fixture
def design():
    return small_design(
        methods={"ridge": {"title": "Ridge", "kind": "decoder"}}, seeds=[0], resamples=200,
        metrics={
            "identification": IDENTIFICATION,
            "kid": IDENTIFICATION | {"unit": "jackknife"},
            "fid": IDENTIFICATION | {"unit": "set"},
        },
    )  # fmt: skip


@pytest.fixture
def features():
    """subject -> features of its test images and of its reconstructions, at the longest budget."""
    rng, found = np.random.default_rng(0), {}
    for subject, ids in IDS.items():
        truth = rng.normal(size=(len(ids), 6))
        found[subject] = truth, truth + rng.normal(size=truth.shape) * np.where(SOURCES[ids] == "web", 0.5, 3)[:, None]
    return found


@pytest.fixture
def scores(design, features):
    parts = []
    for subject, budget in product(design.subjects, design.budgets.values()):
        key = {
            "method": "ridge",
            "subject": subject,
            "sessions": budget[subject],
            "seed": 0,
            "metric": "identification",
        }
        values = identification(*features[subject])  # among all images of the test set
        parts.append(pd.DataFrame(key | {"image_id": IDS[subject], "value": values}))
    return {"shared1000": pd.concat(parts, ignore_index=True)}


def test_means_by_source_are_of_values_among_the_whole_test_set(design, features, scores):
    cells = cells_by_source(scores, {"shared1000": design}, TABLE, FLAGS)
    assert set(cells["metric"]) == {"identification"} and set(cells["budget"]) == {"all"}
    groups = groups_of(TABLE, FLAGS)
    assert sorted(groups.unique()) == ["drawn", "photographs", "web", "web, flagged: outside the crop"]
    found = cells.set_index("source")
    for source in found.index:
        of_subjects, n_images = [], set()
        for subject, ids in IDS.items():
            truth, made = features[subject]
            r = np.corrcoef(truth, made)[: len(ids), len(ids) :]
            own = [i for i, image in enumerate(ids) if groups[image] == source]
            share = [np.mean([r[other, i] < r[i, i] for other in range(len(ids)) if other != i]) for i in own]
            of_subjects += [np.mean(share)] if own else []
            n_images |= {ids[i] for i in own}
        assert found.loc[source, "mean"] == pytest.approx(np.mean(of_subjects)), source
        assert found.loc[source, "n_images"] == len(n_images) and found.loc[source, "n_subjects"] == len(of_subjects)
        assert found.loc[source, "low"] <= found.loc[source, "mean"] <= found.loc[source, "high"]
    assert found.loc["drawn", "n_subjects"] == 1
    assert found.loc["web", "mean"] > found.loc["photographs", "mean"] + 0.1


class PlantedStudy:
    """Networks and sources of a study, without data."""

    def __init__(self, methods: dict, known: dict, sources: dict) -> None:
        self.registries = {"methods": methods, "backbones": {n: {"training_data": data} for n, data in known.items()}}
        self.dataset = type("dataset", (), {"image_sources": sources})
        self.decoders, self.config, self.registered_converter = {}, {"captioner": "git"}, None

    def drawing(self, method: str) -> dict:
        return self.registries["methods"][method]["drawing"]


def test_the_confound_stands_where_the_numbers_stand(design, scores, tmp_path):
    drawing = {"networks": {"generator": "unclip", "prompts": "words"}, "inputs": ["stimuli"]}
    known = {"unclip": ["laion2b", "coyo700m"], "words": ["unpublished"], "git": []}
    study = PlantedStudy(
        {"ridge": {"drawing": drawing}}, known, {"web": ["laion2b"], "photographs": ["coco"], "drawn": []}
    )
    cells = with_training_data(cells_by_source(scores, {"shared1000": design}, TABLE, FLAGS), study, design)
    table = source_table(cells, design)
    write_table(tmp_path / "sources", table, cells)
    assert source_table(read_csv(tmp_path / "sources.csv"), design) == table  # as the page reads it
    rows = {row.heads[1]: row.cells[-1].mean for row in table.rows}
    assert rows["web"] == rows["web, flagged: outside the crop"] == "unclip"
    assert rows["photographs"] == "not published: unclip" or rows["photographs"] == "not published: words"
    assert rows["drawn"] == "none known" and table.heads == ["Method", "Source", "Images"]
    assert "compared with all images of its test set" in table.note
    assert "networks of Ridge (unclip) were trained on a collection that holds the pictures of web," in table.note
    assert "not published what words were trained on" in table.note


def test_what_a_submission_was_made_with_is_not_known(design, scores):
    sent = replace(design, methods={"ridge": {"title": "Sent in", "kind": "submission"}})
    study = PlantedStudy({"ridge": {}}, {}, {"web": ["laion2b"], "photographs": [], "drawn": []})
    cells = with_training_data(cells_by_source(scores, {"shared1000": sent}, TABLE, FLAGS), study, sent)
    rows = {row.heads[1]: row.cells[-1].mean for row in source_table(cells, sent).rows}
    assert rows["web"] == "not published: the networks of Sent in" and rows["drawn"] == "none known"


def test_an_ablation_has_only_the_networks_that_it_uses():
    study = Study(
        merged("paper.yaml")
        | {
            "methods": [
                "brain_diffuser",
                "brain_diffuser_vdvae_only",
                "ridge",
                "ridge_shuffled_brain",
                "ridge_nearest_neighbour",
            ]
        }
    )
    full, alone = (all_networks(study, name) for name in ("brain_diffuser", "brain_diffuser_vdvae_only"))
    assert alone == ["vdvae_imagenet64"] and set(alone) < set(full)
    assert trained_on(study, "brain_diffuser_vdvae_only", ["laion2b"]) == ([], [])
    assert "versatile_diffusion" in trained_on(study, "brain_diffuser", ["laion2b"])[0]
    assert all_networks(study, "ridge_shuffled_brain") == all_networks(study, "ridge")
    assert networks_of(study, "ridge")["encoder"] == [study.config["encoder"]]
    # The nearest training image is found by the decoded tokens, and no network draws it.
    assert all_networks(study, "ridge_nearest_neighbour") == [study.config["encoder"]]


def test_cards_say_which_networks_may_have_seen_the_pictures(monkeypatch):
    study = Study(merged("paper.yaml"))
    monkeypatch.setattr(type(study.dataset), "image_sources", {"web": ["laion2b"], "drawn": []})
    facts = card_facts(study, "brain_diffuser", [], {})
    text = facts.set_index("item")["value"]["may have seen pictures of web"]
    assert "versatile_diffusion" in text and "may have seen pictures of drawn" not in set(facts["item"])


def test_what_networks_were_trained_on_is_said_once_in_words_and_once_in_names():
    study = Study(merged("config.yaml"))
    for name, entry in study.registries["backbones"].items():
        if "trained_on" not in entry:
            continue
        words, known = entry["trained_on"].lower(), entry["training_data"]
        assert ("laion2b" in known) == ("laion" in words), name
        assert ("imagenet1k" in known) == bool(re.search("imagenet(-1k|-22k| )", words)), name
        assert "unpublished" in known or "not published" not in words, name
        assert ("coco_train2017" in known) == ("coco" in words), name
        assert "training_data" not in study.records["backbones"][name]  # jobs do not depend on it


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_sources": {"web": ["LAION 2B"]}}, "'LAION 2B' is not made of lowercase letters"),
        ({"test_set_kinds": {"shared1000": "Seen ones"}}, "is not made of one word of lowercase letters"),
    ],
)
def test_a_wrong_declaration_is_named(change, message):
    import yaml

    content = yaml.safe_load((REPOSITORY / "scripts/fmri2img/datasets/nsd/dataset.yaml").read_text(encoding="utf-8"))
    with pytest.raises(UserError, match=message):
        DatasetRecord.read(content | change, "dataset.yaml")


def test_a_test_set_has_the_kind_that_is_declared():
    dataset = Study(merged("config.yaml")).dataset
    assert dataset.kind_of("shared1000") == "seen" and dataset.kind_of("cluster3") == "cluster"
    dataset.record["test_set_kinds"] = {"shared1000": "ood"}
    assert dataset.kind_of("shared1000") == "ood"
