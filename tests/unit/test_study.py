"""Bad configuration ends in one line that names the key and the remedy, before anything runs."""

import copy
import json
from pathlib import Path

import pytest
from configurations import DEMO, changed, merged

from fmri2img import disk
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.simulator.volumes import LABELS
from fmri2img.errors import UserError
from fmri2img.paths import REPOSITORY
from fmri2img.reporting.design import Design
from fmri2img.study import Study
from fmri2img.training import launch

IMAGES = {"fetched": "mindeye2_test_images", "pictures": "images.pt", "ids": "ids.npy"}


def test_the_encoding_model_is_checked_where_brain_correlation_is_scored():
    published = changed(encoding__model="gnet_multisubject")
    with pytest.raises(UserError, match=r"encoding\.model': gnet_multisubject only covers the subjects of nsd"):
        Study(published)
    without = {"methods": ["ridge"], "metrics": ["pixcorr", "retrieval_image"]}
    assert Study(published | without).predictions()


@pytest.mark.parametrize("name", ["config.yaml", "ablations.yaml", "paper.yaml", "rescore.yaml"])
def test_every_shipped_configuration_is_valid(name):
    assert Study(merged(name)).predictions()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sesions": [1]}, "key 'sesions': unknown; did you mean 'sessions'"),
        ({"nsd__betas__versoin": "b3"}, "key 'nsd.betas.versoin': unknown; did you mean 'version'"),
        ({"nsd__betas__version": "b4"}, "key 'nsd.betas.version': 'b4' is not one of b2, b3"),
        ({"seeds": "0"}, "key 'seeds': '0' is not a list; write its entries in square brackets"),
        (
            {"sessions": ["most"]},
            "key 'sessions.0': 'most' is not a whole number of sessions from 1, minutes as in 10min, or all",
        ),
        ({"seeds": [0, 0]}, "key 'seeds': 0 is listed twice; remove one"),
        ({"generation__steps": 0}, "key 'generation.steps': 0 is out of range; it must be at least 1"),
        ({"subjects": ["subj01", "subj07"]}, "key 'subjects': no data for subj07; available: subj01, "),
        ({"sessions": [1, 9]}, "9 sessions requested, but subj01 has 8"),
        ({"split": "cluster5"}, "cluster5 requested, but cluster_split.clusters is 5"),
        ({"methods": ["rigde"]}, "'rigde' is not a method; did you mean 'ridge'"),
        ({"methods": ["ridge_nearest_neighbour"]}, "is a control of ridge, which is not listed; add ridge or drop"),
        ({"metrics": ["sim"]}, "key 'metrics': 'sim' is not in config/metrics.yaml; did you mean 'ssim'"),
        ({"retrieval_only": ["mindeye2_unrefined"]}, "mindeye2_blended needs the images of mindeye2_unrefined"),
        (
            {"budgets": {"ridge": [3]}},
            "key 'budgets': 3 is not in sessions (1, 2, all); add it there, or write budgets: {ridge: [all]}",
        ),
        (
            {"methods": ["ridge", "ferrante"], "metrics": ["pixcorr"]},
            "no metric of the study reads captions, which is all that ferrante makes; add one to metrics, such as ",
        ),
        (
            {"methods": ["ridge"], "retrieval_only": ["ridge"], "metrics": ["pixcorr", "ssim"]},
            "reads retrieval, which is all that ridge makes; add one to metrics, such as retrieval_",
        ),
        ({"budgets": {"rigde": [1]}}, "key 'budgets': 'rigde' is not a method; did you mean 'ridge'"),
        ({"budgets": {"ridge": []}}, "key 'budgets.ridge'"),
        ({"retrieval_only": ["ridge_shuffled_brain"]}, "'retrieval_only': ridge_shuffled_brain is not a decoder"),
        (
            {"mindeye2__low_level": None},
            "key 'mindeye2.low_level': is null, but mindeye2_blended needs it; set it or use mindeye2_refined",
        ),
        ({"mindeye2__decoding__prior_steps": 1}, "key 'mindeye2.decoding.prior_steps': 1 must be at least 2 and below"),
        (
            {"mindeye1__decoding__prior_steps": 1},
            "key 'mindeye1.decoding.prior_steps': 1 must be at least 2 and at most",
        ),
        ({"refinement__start": 12}, "key 'refinement.start': 12 must be below steps (8), or no step is run; lower it"),
        ({"refinement__prompts": "demo_clop"}, "'refinement.prompts': 'demo_clop' is not in config/backbones.yaml"),
        ({"encoding__model": "gnet"}, "key 'encoding.model': 'gnet' is not in config/backbones.yaml"),
        (
            {"encoding__model": "demo_clip"},
            "demo_clip is of kind open_clip, which is not allowed here; use banded_ridge or gnet_multisubject",
        ),
        (
            {"encoding__model": "gnet_multisubject"},
            "only covers the subjects of nsd, and these are others (simulated data); use banded_ridge",
        ),
        (
            {"encoder": "demo_vae"},
            "key 'encoder': demo_vae is of kind diffusers_vae, which is not allowed here; use demo_clip or ",
        ),
        ({"captioner": "demo_vae"}, "key 'captioner': demo_vae is of kind diffusers_vae"),
        ({"mindeye2__low_level__teacher": "demo_clip"}, "key 'mindeye2.low_level.teacher': demo_clip is of kind"),
        ({"caption_converter": "demo_clip"}, "key 'caption_converter': demo_clip is of kind open_clip"),
        (
            {"encoding__bands": [{"network": "demo_clip", "layer": "pooling"}]},
            "key 'encoding.bands.0.layer': demo_clip has no layer 'pooling'; available: pooled",
        ),
        (
            {"encoding__bands": [{"network": "demo_vae", "layer": "x"}]},
            "key 'encoding.bands.0.network': demo_vae is of",
        ),
        (
            {"nsd__betas__mask": "nsdgenera"},
            "key 'nsd.betas.mask': 'nsdgenera' is neither a region file nor a region of NSD",
        ),
        ({"mindeye2__model__hiden": 192}, "key 'mindeye2.model.hiden': unknown; did you mean 'hidden'?"),
        (
            {"mindeye2__model__prior__heads": 0},
            "key 'mindeye2.model.prior.heads': 0 is out of range; it must be at least 1",
        ),
        (
            {"mindeye2__low_level__head__channels": [20]},
            "key 'mindeye2.low_level.head.channels': 20 is not a multiple of 32",
        ),
        ({"mindeye2__losses__priors": 3}, "key 'mindeye2.losses.priors': unknown; did you mean 'prior'?"),
        (
            {"mindeye2__losses__low_level_every": 0},
            "key 'mindeye2.losses.low_level_every': 0 is out of range; it must be at least 1",
        ),
        (
            {"mindeye2__pretraining__training__epoks": 3},
            "key 'mindeye2.pretraining.training.epoks': unknown; did you mean 'epochs'?",
        ),
        (
            {"mindeye2__finetuning__training__epochs": "three"},
            "key 'mindeye2.finetuning.training.epochs': 'three' is not a whole number",
        ),
        (
            {"mindeye2__finetuning__gpus_per_node": 5},
            "key 'mindeye2.finetuning.training.batch': 24 is not a multiple of accumulation x processes (1 x 5)",
        ),
        ({"encoder": "clip"}, "key 'encoder': 'clip' is not in config/backbones.yaml"),
        ({"nsd__source": "images"}, "key 'nsd.images': missing; source is 'images', so add the section"),
        ({"nsd__source": "images", "nsd__images": IMAGES}, "key 'methods': must be [] for published test images"),
        ({"nsd__simulation__stimuli": 400}, "key 'nsd.simulation.stimuli': 400 is fewer than the "),
        ({"dataset": "nsf"}, "key 'dataset': there is no dataset 'nsf'; did you mean 'nsd'?"),
        ({"plugins": ["nowhere"]}, "key 'plugins': nowhere holds neither method.yaml nor dataset.yaml"),
        ({"bottleneck__directions": "mindeye2"}, "key 'bottleneck.directions': 'mindeye2' is not a linear decoder; "),
        ({"resources": "huge"}, "key 'resources': 'huge' is not one of laptop, cluster"),
        ({"split": "shared100"}, "key 'split': 'shared100' is not one of shared1000, shared982, cluster<k>"),
        (
            {"test_sets": ["imagery"]},
            "key 'test_sets': there is no test set 'imagery' in split shared1000; available: ",
        ),
        ({"submissions": {"ridge": {"path": "x"}}}, "key 'submissions.ridge': is the name of a method"),
        ({"submissions": {"mine": {"title": "x"}}}, "key 'submissions.mine': give the path of a submission, or its"),
        ({"study": "My Study"}, "key 'study'"),
    ],
)
def test_bad_configuration_names_key_and_remedy(change, message):
    with pytest.raises(UserError) as caught:
        Study(changed(**change))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_encoding_model_does_not_judge_images_it_was_trained_on():
    config = merged("paper.yaml") | {"split": "cluster1"}
    with pytest.raises(
        UserError, match="gnet_multisubject was trained on test images of split cluster1; use banded_ridge"
    ):
        Study(config)
    config["encoding"]["model"] = "banded_ridge"
    assert Study(config).predictions()


def test_missing_key_is_named():
    config = copy.deepcopy(DEMO)
    del config["nsd"]["root"]
    with pytest.raises(UserError, match=r"key 'nsd\.root': missing; add it"):
        Study(config)


def test_all_is_each_subjects_own_number_of_sessions():
    study = Study(changed(sessions=[1, 2, "all"]))
    assert [study.budgets(s) for s in ("subj01", "subj03")] == [[1, 2, 8], [1, 2, 6]]
    assert Study(changed(sessions=[6, "all"])).budgets("subj03") == [6]


def test_shared982_ends_before_the_held_out_sessions():
    with pytest.raises(UserError, match="8 sessions requested, but subj01 has 7 in split shared982"):
        Study(changed(split="shared982", sessions=[1, 8], subjects=["subj01"]))


def test_region_files_are_those_that_are_simulated():
    assert set(layout.ROI_FILES) == set(LABELS)


def test_what_nsd_declares_is_what_its_files_have():
    dataset = Study(merged("paper.yaml")).dataset
    assert dataset.record["subjects"] == layout.SESSIONS
    assert dataset.regions == [region for labels in layout.ROI_LABELS.values() for region in labels]


def test_terms_must_be_accepted_before_a_real_run():
    with pytest.raises(UserError, match=r"nsd\.bucket\.terms_accepted.*https://forms\.gle"):
        Study(merged("paper.yaml")).dataset.check_terms()


def free_bytes(monkeypatch, number: int) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": number})())


def test_a_disk_too_small_is_noticed_before_the_first_job(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    study = Study(DEMO)
    free_bytes(monkeypatch, 10**11)
    disk.check_space(study)
    free_bytes(monkeypatch, 10**6)
    with pytest.raises(
        UserError, match=r"disk: study demo needs about .* GB more for results/demo and data/simulated, 0 GB are free"
    ):
        disk.check_space(study)


def test_what_a_study_has_written_is_not_needed_again(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    study = Study(DEMO)
    needed = disk.bytes_by_folder(study)
    free_bytes(monkeypatch, sum(needed.values()) // 2)
    with pytest.raises(UserError, match="disk"):
        disk.check_space(study)
    for folder, size in needed.items():
        folder.mkdir(parents=True)
        with open(folder / "made", "wb") as file:
            file.truncate(size // 2)
    disk.check_space(study)


def test_a_studys_disk_is_counted_by_what_is_large_in_it():
    paper, light = Study(merged("paper.yaml")), Study(merged("paper.yaml", "light.yaml"))
    rescore = Study(merged("rescore.yaml"))
    needed = {study.name: disk.bytes_by_folder(study) for study in (paper, light, rescore)}
    results = {name: found[Path("results", name)] for name, found in needed.items()}
    assert 3e12 < results["paper"] < 7e12
    assert results["light"] < results["paper"] / 2
    assert results["rescore"] < 30e9 and len(needed["rescore"]) == 1
    assert needed["paper"][Path("data/nsd")] == pytest.approx(8 * 1.3e9)


def test_peers_of_the_paper_run_at_every_budget_and_their_ablations_at_the_longest():
    study = Study(merged("paper.yaml"))
    for method in ("mindvis", "mindvis_shuffled_brain", "mindeye1", "takagi", "brain_diffuser", "ferrante", "ridge"):
        assert study.budgets_of(method, "subj01") == [1, 2, 40], method
    for method in ("takagi_c", "brain_diffuser_without_text", "mindeye1_highlevel"):
        assert study.budgets_of(method, "subj01") == [40], method


def test_packages_import_only_packages_before_them():
    import ast

    order = [
        "artifacts",
        "settings",
        "datasets",
        "backbones",
        "stats",
        "linear",
        "generation",
        "encoding",
        "training",
        "networks",
        "metrics",
        "methods",
        "submissions",
        "reporting",
    ]
    library = Path(REPOSITORY) / "scripts" / "fmri2img"
    wrong = []
    for rank, package in enumerate(order):
        for file in (library / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                modules = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                for module in modules if "scripts" not in file.relative_to(library).parts else []:
                    parts = module.split(".")
                    if parts[0] == "fmri2img" and len(parts) > 1 and parts[1] in order[rank + 1 :]:
                        wrong.append(f"{file.relative_to(library)} imports {module}")
    assert wrong == []


def test_minutes_are_shares_of_a_session():
    study = Study(changed(sessions=["10min", "30min", 1, "all"]))
    assert study.budgets("subj03") == [0.166667, 0.5, 1, 6]


def test_a_method_may_run_at_fewer_budgets_and_what_is_made_from_it_follows():
    study = Study(changed(budgets={"mindeye2_unrefined": ["all", 1], "ridge": ["all"], "ridge_shuffled_brain": [2]}))
    sessions = {name: sorted({cell.sessions for cell in study.cells(name)}) for name in study.methods}
    assert sessions["mindeye2_unrefined"] == sessions["mindeye2_blended"] == [1, 8]
    assert sessions["mindeye2_blended_shuffled_brain"] == sessions["mindeye2_lowlevel"] == [1, 8]
    assert sessions["ridge"] == sessions["ridge_nearest_neighbour"] == [8] and sessions["ridge_shuffled_brain"] == [2]
    assert sessions["true_tokens"] == [1, 2, 8]
    assert {cell.sessions for cell in study.longest_cells("ridge_shuffled_brain")} == {2}
    design = Design.of(study)
    assert design.budgets_of("mindeye2_blended") == ["1", "all"] and design.budgets_of("true_tokens") == [
        "1",
        "2",
        "all",
    ]
    assert design.budgets_of("mindeye2_blended", "ridge") == ["all"]


def test_recordings_are_needed_of_the_subjects_that_networks_are_pretrained_on():
    assert Study(changed(methods=["ridge"])).recorded == ["subj01", "subj02"]
    assert Study(changed(methods=["mindeye2_scratch_unrefined"])).recorded == ["subj01", "subj02"]
    study = Study(changed(methods=["mindeye2_blended"], subjects=["subj02"]))
    assert study.trained == ["mindeye2_unrefined"]
    assert study.recorded == ["subj02", "subj03", "subj04"]
    assert study.pretraining_subjects("mindeye2", "subj02") == ["subj03", "subj04"]
    chosen = Study(
        changed(methods=["mindeye2_blended"], subjects=["subj03"], mindeye2__pretraining__subjects=["subj02", "subj01"])
    )
    assert chosen.recorded == ["subj01", "subj02", "subj03"]
    with pytest.raises(UserError, match="no subject is left to pretrain on when decoding subj02"):
        Study(changed(methods=["mindeye2_blended"], mindeye2__pretraining__subjects=["subj02"]))


def test_a_pretraining_is_identified_by_whom_it_was_trained_on():
    study = Study(changed(mindeye2__pretraining__subjects=["subj04", "subj03", "subj02"]))
    names = {target: study.pretraining("mindeye2", target).pool for target in study.available_sessions}
    assert names == {
        "subj01": "without_subj01", "subj02": "subj03+subj04", "subj03": "subj02+subj04", "subj04": "subj02+subj03",
    }  # fmt: skip
    assert study.pretraining("mindeye2_scratch", "subj01") is None
    assert study.pretraining("mindeye2_residual_mlp", "subj01").path == "mindeye2_residual_mlp/without_subj01"
    shared = Study(changed(mindeye2__pretraining__subjects=["subj03", "subj04"]))
    assert [one.path for one in shared.pretrainings_of(["mindeye2"])] == ["mindeye2/subj03+subj04"]
    of_each = Study(changed(mindeye2__pretraining__subjects="all"))
    assert [one.pool for one in of_each.pretrainings_of(["mindeye2"])] == ["without_subj01", "without_subj02"]


def test_no_pretraining_has_seen_the_subject_it_is_fine_tuned_on():
    for chosen in ("all", ["subj01", "subj03", "subj04"]):
        study = Study(changed(mindeye2__pretraining__subjects=chosen))
        for decoder in ("mindeye2", "mindeye2_residual_mlp"):
            for target in study.available_sessions:
                start = study.pretraining(decoder, target)
                settings = json.loads(launch.pretraining_settings(study, start))["settings"]
                assert target not in start.subjects and target not in settings["recordings"]
                assert list(settings["sessions"]) == sorted(start.subjects)


def test_decoders_with_equal_pretrainings_share_it(monkeypatch):
    study = Study(changed())
    other = study.decoders["mindeye2"] | {"drawing": "latents"}
    monkeypatch.setitem(study.decoders, "mindeye2_other", other)
    assert study.pretraining("mindeye2_other", "subj01") == study.pretraining("mindeye2", "subj01")
    settings = json.loads(launch.finetuning_settings(study, "mindeye2_other", "subj01", "1", "0"))["settings"]
    assert settings["initial"] == "results/demo/pretrained/mindeye2/subj03+subj04"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subjects": ["subj01", "subj03"]}, "subj03 at 1 sessions; available: mindeye2_subj01_40sess, "),
        ({"sessions": [2]}, "mindeye2_released_unrefined has no published network of subj01 at 2 sessions"),
        ({"sessions": ["10min"]}, "no published network of subj01 at 0.166667 sessions"),
        ({"split": "shared982"}, "no published network of subj01 at 37 sessions"),
        ({"encoder": "openclip_bigg_symmetric"}, "decode tokens of openclip_bigg, not of openclip_bigg_symmetric"),
        ({"split": "cluster0"}, "was trained on test images of split cluster0"),
    ],
)
def test_what_was_not_published_is_refused(changes, message):
    config = merged("paper.yaml", "released.yaml")
    config["encoding"]["model"] = "banded_ridge"
    assert Study(config).trained == []
    with pytest.raises(UserError) as caught:
        Study(config | changes)
    assert message in str(caught.value)


def test_published_networks_decode_no_simulated_subject():
    with pytest.raises(UserError, match=r"mindeye2_released.* only covers the subjects of nsd"):
        Study(changed(methods=["mindeye2_released_blended"]))


def test_a_blend_has_its_two_parts_in_the_registry():
    study = Study(DEMO)
    entries = study.registries["methods"]
    for blended in [name for name, entry in entries.items() if entry.get("stage") == "blended"]:
        parts = [entries[study.stage_of(blended, part)] for part in ("refined", "lowlevel")]
        assert [part["of"] for part in parts] == [entries[blended]["of"]] * 2
