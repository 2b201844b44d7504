"""Method cards: parameters counted from stored networks, trainings, and which known defects a study reproduces."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from configurations import DEMO, merged

from fmri2img.errors import UserError
from fmri2img.methods.mindeye2.card import PARTS, idle_parameters, known_defects, parameters_by_part
from fmri2img.methods.mindeye2.network import MindEye2, save_model
from fmri2img.methods.mindeye2.settings import LossConfig, ModelConfig
from fmri2img.reporting.cards import card, runs_table
from fmri2img.reporting.style import save_figure
from fmri2img.reporting.tables import write_tables
from fmri2img.reporting.trained_runs import TrainedRun
from fmri2img.reporting.training_curves import thinned, training_curves
from fmri2img.settings.configuration import read_configuration
from fmri2img.study import Study
from fmri2img.training.configuration import TrainingConfig
from fmri2img.training.record import save_record, training_record

CONFIG = DEMO
VOXELS = {"subj01": 11, "subj02": 7}
MODEL = {
    "hidden": 8, "backbone": "as_released", "blocks": 3, "tokens": 4, "token_width": 6,
    "prior": {"depth": 1, "heads": 2, "head_width": 8, "feedforward": 2, "timesteps": 10, "rotary_width": 4},
}  # fmt: skip
METHODS = [
    "mindeye2_blended", "mindeye2_unrefined", "mindeye2_residual_mlp_scratch_unrefined", "ridge",
    "ridge_nearest_neighbour",
]  # fmt: skip


def store(path: Path, subjects: list[str], sessions, seed=0, initial=None, **changes) -> Path:
    """A trained network as the training engine stores it."""
    model = MindEye2(ModelConfig.read(MODEL | changes), {subject: VOXELS[subject] for subject in subjects})
    metadata = {
        "subjects": subjects, "sessions": dict.fromkeys(subjects, sessions), "trials": 500 + seed, "images": 400,
        "held_out_images": 20, "losses": LossConfig().to_dict(), "initial": initial,
    }  # fmt: skip
    save_model(path, model, metadata)
    training = TrainingConfig(epochs=12, batch=24 if len(subjects) == 1 else 60, seed=seed).to_dict()
    run = {
        "config": {"task": "t", "settings": {}, "training": training}, "steps": 240, "seconds": 61.7, "processes": 2,
        "validation": {"retrieval_image": 0.5, "retrieval_brain": 0.25, "chance": 0.05},
    }  # fmt: skip
    save_record(path / "training.json", training_record(run, torch.device("cpu")))
    steps = np.arange(240)
    log = {"step": steps, "loss_prior": 30 / (1 + steps), "loss_contrast": 1.0, "loss": 1 + 30 / (1 + steps)}
    log |= {"learning_rate": 1e-4, "gradient_norm": 1.0, "validation_retrieval_image": np.nan}
    pd.DataFrame(log).to_parquet(path / "log.parquet")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, list[TrainedRun]]:
    folder = tmp_path_factory.mktemp("trained")
    pretrained = store(folder / "subj01+subj02", ["subj01", "subj02"], 2)
    fine = [store(folder / f"seed{seed}", ["subj01"], 1, seed, initial={"subjects": ["subj02"]}) for seed in (0, 1)]
    scratch = store(folder / "scratch", ["subj01"], 1, backbone="residual_mlp")
    return {
        "mindeye2_unrefined": [TrainedRun.open(pretrained, pretraining=True), *map(TrainedRun.open, fine)],
        "mindeye2_residual_mlp_scratch_unrefined": [TrainedRun.open(scratch)],
    }


def changed(**sections) -> Study:
    return Study(CONFIG | {"methods": METHODS} | sections)


def facts_of(study: Study, method: str, runs=()) -> pd.Series:
    return card(study, method, list(runs))[1].set_index(["section", "item"])["value"]


@pytest.mark.parametrize("backbone", ["as_released", "residual_mlp"])
def test_parameters_are_those_of_the_stored_weights_and_idle_ones_have_no_gradient(tmp_path, backbone):
    path = store(tmp_path / "decoder", ["subj01", "subj02"], 1, backbone=backbone)
    config = TrainedRun.open(path).config
    counts = parameters_by_part(config)
    torch.manual_seed(0)
    model = MindEye2(ModelConfig.read(config["model"]), VOXELS).eval()
    assert counts["subj01"] == 8 * (11 + 1) and counts["map to tokens"] == (8 + 1) * 24
    assert sum(counts.values()) == sum(p.numel() for p in model.parameters())
    assert "low-level head" not in counts and set(counts) - set(VOXELS) < set(PARTS)
    if backbone == "as_released":
        for block in model.backbone.blocks.sequence:
            torch.nn.init.ones_(block[0].bias)  # its initial 0 would be the gradient of the next weight
    model({subject: torch.randn(3, n) for subject, n in VOXELS.items()}).projected.square().sum().backward()
    blocks = model.backbone.blocks.parameters()
    without = sum(int((p.grad == 0).sum()) for p in blocks if p.grad is not None and not p.grad.any())
    assert idle_parameters(config) == without
    assert (without > 0) == (backbone == "as_released")


def test_a_card_says_what_the_backbone_really_does(trained):
    study = changed()
    facts = facts_of(study, "mindeye2_unrefined", trained["mindeye2_unrefined"])
    idle = f"{idle_parameters(trained['mindeye2_unrefined'][0].config):,}"
    assert f"identity plus a scalar, and {idle} of their parameters never act" in facts["network", "backbone"]
    assert "affine" in facts["network", "backbone"]
    assert facts["network", "adapter of subj01"] == "96 parameters (11 voxels)"
    assert ("network", "adapter of subj02") not in facts.index  # pretrained on, not decoded
    assert facts["training", "stages"] == "pretraining, then fine-tuning"
    assert facts["training", "learning rate"] == "0.0003" and facts["training", "loss: negatives"] == "gathered"
    assert facts["training", "batch"] == "pretraining 60; fine-tuning 24"
    assert facts["settings", "generation.guidance"] == "2"
    assert facts["settings", "generator"].startswith("demo_unclip, revision sha256:")
    other = facts_of(
        study, "mindeye2_residual_mlp_scratch_unrefined", trained["mindeye2_residual_mlp_scratch_unrefined"]
    )
    assert "not what was released" in other["network", "backbone"]
    assert "never act" not in other["network", "all parts, one subject"]
    assert other["training", "stages"] == "from scratch" and other["training", "epochs"] == "12"
    assert facts_of(study, "mindeye2_blended")["settings", "refinement.refined_weight"] == "0.75"
    assert facts_of(study, "ridge_nearest_neighbour")["method", "builds on"] == "Ridge"


def test_trainings_are_listed_with_ranges_over_seeds(trained):
    table = runs_table(trained["mindeye2_unrefined"])
    heads = [row.heads for row in table.rows]
    assert heads == [["pretraining", "subj01, subj02", "2"], ["fine-tuning", "subj01", "1"]]
    fine = dict(zip((column.title for column in table.columns), map(str, table.rows[1].cells), strict=True))
    assert fine["Trials"] == "500–501" and fine["Images"] == "400" and fine["Seconds"] == "62"
    assert fine["Retrieval image"] == "50.0" and fine["Chance"] == "5.0"


def test_defects_are_looked_up_in_the_configuration():
    table = known_defects(read_configuration(CONFIG).to_dict()).set_index("key")
    assert table.loc["mindeye2.losses.negatives", ["here", "reproduced"]].tolist() == ["gathered", "no"]
    stepping = "mindeye2.{pretraining,finetuning}.training.schedule_stepping"
    assert table.loc[stepping, ["here", "reproduced"]].tolist() == ["optimiser", "no"]
    assert table.loc["encoder", "reproduced"] == "—"  # the demo's encoder is neither

    section = CONFIG["mindeye2"]
    training = section["finetuning"]["training"] | {"schedule_stepping": "per_process"}
    section = section | {
        "losses": {"negatives": "local", "permutation_offsets": False},
        "finetuning": section["finetuning"] | {"training": training, "inherit_adapter_bias": True},
    }
    as_released = CONFIG | {
        "mindeye2": section,
        "encoder": "openclip_bigg",
        "nsd": CONFIG["nsd"] | {"betas": {"normalise": "pooled"}},
    }
    table = known_defects(read_configuration(as_released).to_dict()).set_index("key")
    assert table.loc[stepping, ["here", "reproduced"]].tolist() == ["optimiser / per_process", "yes"]
    assert table[table["reproduced"] == "no"].index.tolist() == ["mindeye2.losses.fixed_points"]
    assert table.loc["mindeye2.losses.permutation_offsets", "here"] == "false"


def test_cards_are_made_for_a_study_s_methods_and_what_is_trained_for_them():
    assert changed(methods=["mindeye2_blended", "ridge"]).described == [
        "mindeye2_blended",
        "ridge",
        "mindeye2_unrefined",
    ]
    study = changed()
    defects = {
        method: any(s.startswith("known defect") for s, _ in facts_of(study, method).index) for method in METHODS
    }
    assert defects == {method: method.startswith("mindeye2") for method in METHODS}


def test_a_published_network_has_the_defects_it_was_trained_with():
    """Whatever the study's configuration says of trainings; the study's own encoder and betas are its own."""
    study = Study(merged("paper.yaml", "released.yaml"))
    for method in ("mindeye2_released_blended", "mindeye2_released_unrefined"):
        facts = card(study, method, [])[1]
        assert set(facts[facts["item"] == "reproduced"]["value"]) == {"yes"}
    config = merged("paper.yaml", "released.yaml")
    config["nsd"]["betas"] = CONFIG["nsd"]["betas"]
    study = Study(config)
    defects = known_defects(study.config, published=True).set_index("key")["reproduced"]
    assert defects[defects == "no"].index.tolist() == ["nsd.betas.normalise"]
    facts = facts_of(study, "mindeye2_released_unrefined")
    assert "final_subj02_pretrained_40sess_24bs/last.pth, revision 26421f1" in facts["network", "subj02, 40 sessions"]


def test_a_card_is_one_page_with_all_its_tables(trained, tmp_path):
    tables, facts = card(changed(), "mindeye2_unrefined", trained["mindeye2_unrefined"])
    write_tables(tmp_path / "card", tables, facts)
    page = (tmp_path / "card.html").read_text()
    assert page.count("<table>") == 3 and "<title>Method card: MindEye2 (unrefined)</title>" in page
    read = pd.read_csv(tmp_path / "card.csv").set_index(["section", "item"])["value"]
    assert read["fine-tuning of subj01, 1 sessions, seed 1", "trials"] == "501"
    assert read["known defect: negatives of one process", "released"] == "local"
    for suffix in ("md", "tex"):
        assert "Known defects of the released code" in (tmp_path / f"card.{suffix}").read_text()


def test_a_decoder_without_its_training_record_is_named(tmp_path):
    path = store(tmp_path / "decoder", ["subj01"], 1)
    (path / "training.json").write_text('{"config": {}}')
    with pytest.raises(UserError, match=r"training\.json: key 'steps' is missing; delete "):
        TrainedRun.open(path)


def test_training_curves_show_every_training_and_long_logs_as_means(trained, tmp_path):
    log = pd.DataFrame({"step": np.arange(7), "loss": [1.0, 3, 2, 2, 5, 5, 8]})
    assert thinned(log, 3)["loss"].tolist() == [2.0, 4.0, 8.0]
    assert thinned(log, 7).equals(log.astype(float))
    runs = {run.stage: run.path for run in trained["mindeye2_unrefined"][:2]}
    for name in ("first", "second"):
        figure = training_curves(runs, "MindEye2")
        headings = [panel.get_title(loc="left") for panel in figure.axes[:2]]
        assert headings == ["pretraining", "fine-tuning"]
        assert len(figure.axes[0].lines) == 3  # two terms and their sum
        save_figure(figure, tmp_path / name)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()
