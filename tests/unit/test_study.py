"""Bad configuration ends in one line that names the key and the remedy, before anything runs."""

import copy
from pathlib import Path

import pytest
from configurations import DEMO, changed, merged

from fmri2img import disk
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.simulator.volumes import LABELS
from fmri2img.errors import UserError
from fmri2img.study import REPOSITORY, Study


@pytest.mark.parametrize("name", ["config.yaml", "paper.yaml", "rescore.yaml"])
def test_every_shipped_configuration_is_valid(name):
    assert Study(merged(name)).predictions()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sesions": [1]}, "unknown key 'sesions'; did you mean 'sessions'"),
        ({"betas__versoin": "b3"}, "unknown key 'betas.versoin'; did you mean 'version'"),
        ({"betas__version": "b4"}, "key 'betas.version': 'b4' is not one of"),
        ({"seeds": "0"}, "key 'seeds': '0' is not of type 'array'"),
        (
            {"sessions": ["most"]},
            "key 'sessions.0': 'most' is not a whole number of sessions, minutes as in 10min, or all",
        ),
        ({"seeds": [0, 0]}, "key 'seeds'"),
        ({"generation__steps": 0}, "key 'generation.steps'"),
        ({"subjects": ["subj01", "subj07"]}, "key 'subjects': no data for subj07"),
        ({"sessions": [1, 9]}, "9 sessions asked, but subj01 has 8"),
        ({"split": "cluster5"}, "cluster5 asked, but splits.clusters is 5"),
        ({"methods": ["rigde"]}, "'rigde' is not in config/methods.yaml; did you mean 'ridge'"),
        ({"methods": ["nearest_neighbour"]}, "nearest_neighbour is a control of ridge, which is not listed"),
        ({"metrics": ["sim"]}, "key 'metrics': 'sim' is not in config/metrics.yaml; did you mean 'ssim'"),
        ({"retrieval_only": ["mindeye2_unrefined"]}, "mindeye2 needs the pictures of mindeye2_unrefined"),
        ({"retrieval_only": ["shuffled_brain"]}, "'retrieval_only': shuffled_brain is not a decoder"),
        ({"mindeye2__low_level": None}, "'mindeye2.low_level' is null, which mindeye2 needs; use mindeye2_refined"),
        ({"refinement__start": 12}, "'refinement.start' must be below refinement.steps"),
        ({"refinement__prompts": "demo_clop"}, "'refinement.prompts': 'demo_clop' is not in config/backbones.yaml"),
        ({"encoding__model": "gnet"}, "key 'encoding.model': 'gnet' is not in config/backbones.yaml"),
        ({"encoding__model": "demo_clip"}, "'encoding.model': demo_clip is no encoding model; use banded_ridge"),
        ({"encoding__model": "gnet_multisubject"}, "knows NSD's subjects, and these are simulated; use banded_ridge"),
        (
            {"encoder": "demo_vae"},
            "key 'encoder': demo_vae is of kind diffusers_vae, which cannot stand here; there are",
        ),
        ({"captioner": "demo_vae"}, "key 'captioner': demo_vae is of kind diffusers_vae"),
        ({"mindeye2__low_level__teacher": "demo_clip"}, "key 'mindeye2.low_level.teacher': demo_clip is of kind"),
        ({"caption_converter": "demo_clip"}, "key 'caption_converter': demo_clip is of kind open_clip"),
        (
            {"encoding__bands": [{"network": "demo_clip", "layer": "pooling"}]},
            "key 'encoding.bands.0.layer': demo_clip has no layer 'pooling'; there are pooled",
        ),
        (
            {"encoding__bands": [{"network": "demo_vae", "layer": "x"}]},
            "key 'encoding.bands.0.network': demo_vae is of",
        ),
        ({"betas__mask": "nsdgenera"}, "key 'betas.mask': no region file 'nsdgenera'; did you mean 'nsdgeneral'?"),
        ({"mindeye2__model__hiden": 192}, "configuration: mindeye2.model.hiden: unknown key; the keys are hidden"),
        ({"mindeye2__model__prior__heads": 0}, "mindeye2.model.prior.heads: expected a positive whole number, found 0"),
        ({"mindeye2__low_level__head__channels": [20]}, "mindeye2.low_level.head.channels: 20 is not a multiple of 32"),
        ({"mindeye2__losses__priors": 3}, "configuration: mindeye2.losses.priors: unknown key; did you mean 'prior'?"),
        ({"mindeye2__losses__low_level_every": 0}, "mindeye2.losses.low_level_every: 0 is not a positive whole number"),
        ({"mindeye2__pretraining__training__epoks": 3}, "mindeye2.pretraining: training configuration: unknown key"),
        (
            {"mindeye2__finetuning__training__epochs": "three"},
            "mindeye2.finetuning: training.epochs = 'three'; it must",
        ),
        ({"mindeye2__finetuning__processes": 5}, "mindeye2.finetuning: training.batch = 48 is not a multiple of"),
        ({"encoder": "clip"}, "key 'encoder': 'clip' is not in config/backbones.yaml"),
        ({"dataset__kind": "nsd"}, "key 'dataset.nsd' is missing"),
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
    with pytest.raises(UserError, match="gnet_multisubject was trained on every image that is not shared"):
        Study(config)
    config["encoding"]["model"] = "banded_ridge"
    assert Study(config).predictions()


def test_missing_key_is_named():
    config = copy.deepcopy(DEMO)
    del config["betas"]["mask"]
    with pytest.raises(UserError, match=r"key 'betas\.mask' is missing"):
        Study(config)


def test_all_is_each_subjects_own_number_of_sessions():
    study = Study(changed(sessions=[1, 2, "all"]))
    assert [study.budgets(s) for s in ("subj01", "subj03")] == [[1, 2, 8], [1, 2, 6]]
    assert Study(changed(sessions=[6, "all"])).budgets("subj03") == [6]


def test_shared982_ends_before_the_held_out_sessions():
    with pytest.raises(UserError, match="8 sessions asked, but subj01 has 7 in split shared982"):
        Study(changed(split="shared982", sessions=[1, 8], subjects=["subj01"]))


def test_a_users_own_region_file_is_a_mask(tmp_path):
    config = merged("paper.yaml")
    config["dataset"]["nsd"]["copy"] = str(tmp_path)
    config["betas"]["mask"] = "attended"
    with pytest.raises(UserError, match=r"betas\.mask': no region file 'attended'; NSD has nsdgeneral"):
        Study(config)
    for subject in config["subjects"]:
        file = tmp_path / layout.roi(subject, "attended")
        file.parent.mkdir(parents=True)
        file.touch()
    assert Study(config).predictions()
    assert Study(changed(betas__mask="lh.streams")).predictions()


def test_region_files_are_those_that_are_simulated():
    assert set(layout.ROI_FILES) == set(LABELS)


def test_terms_must_be_accepted_before_a_real_run():
    with pytest.raises(UserError, match=r"dataset\.nsd\.terms_accepted.*https://forms\.gle"):
        Study(merged("paper.yaml")).check_terms()


def free_bytes(monkeypatch, number: int) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": number})())


def test_a_disk_too_small_is_noticed_before_the_first_job(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    study = Study(DEMO)
    free_bytes(monkeypatch, 10**11)
    disk.check_space(study)
    free_bytes(monkeypatch, 10**6)
    with pytest.raises(UserError, match=r"disk: study demo needs about .* GB more for .*results/demo, 0 GB are free"):
        disk.check_space(study)


def test_what_a_study_has_written_is_not_needed_again(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    study = Study(DEMO)
    need = disk.results_bytes(study) + disk.tree_bytes(study)
    free_bytes(monkeypatch, need // 2)
    with pytest.raises(UserError, match="disk"):
        disk.check_space(study)
    for folder, size in ((study.root, disk.tree_bytes(study)), (Path("results/demo"), disk.results_bytes(study))):
        folder.mkdir(parents=True)
        with open(folder / "made", "wb") as file:
            file.truncate(size // 2)
    disk.check_space(study)


def test_a_studys_disk_is_counted_by_what_is_large_in_it():
    paper, light = Study(merged("paper.yaml")), Study(merged("paper.yaml", "light.yaml"))
    rescore = Study(merged("rescore.yaml"))
    assert 3e12 < disk.results_bytes(paper) < 5e12
    assert disk.results_bytes(light) < disk.results_bytes(paper) / 2
    assert disk.results_bytes(rescore) < 30e9 and disk.tree_bytes(rescore) == 0
    assert disk.tree_bytes(paper) == pytest.approx(8 * 1.3e9)


def test_packages_import_only_packages_before_them():
    import ast

    order = [
        "artifacts",
        "datasets",
        "backbones",
        "stats",
        "linear",
        "generation",
        "encoding",
        "training",
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
                for module in modules:
                    parts = module.split(".")
                    if parts[0] == "fmri2img" and len(parts) > 1 and parts[1] in order[rank + 1 :]:
                        wrong.append(f"{file.relative_to(library)} imports {module}")
    assert wrong == []


def test_minutes_are_shares_of_a_session():
    study = Study(changed(sessions=["10min", "30min", 1, "all"]))
    assert study.budgets("subj03") == [0.166667, 0.5, 1, 6]


def test_recordings_are_needed_of_the_subjects_that_networks_are_pretrained_on():
    assert Study(changed(methods=["ridge"])).recorded == ["subj01", "subj02"]
    assert Study(changed(methods=["mindeye2_scratch"])).recorded == ["subj01", "subj02"]
    study = Study(changed(methods=["mindeye2"], subjects=["subj02"]))
    assert study.trained == ["mindeye2_unrefined"]
    assert study.recorded == ["subj01", "subj02", "subj03", "subj04"]
    assert study.pretraining_subjects("subj02") == ["subj01", "subj03", "subj04"]
    chosen = Study(
        changed(methods=["mindeye2"], subjects=["subj03"], mindeye2__pretraining__subjects=["subj02", "subj01"])
    )
    assert chosen.recorded == ["subj01", "subj02", "subj03"]
    with pytest.raises(UserError, match="nobody is left to pretrain on for subj02"):
        Study(changed(methods=["mindeye2"], mindeye2__pretraining__subjects=["subj02"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subjects": ["subj01", "subj03"]}, "subj03 at 1 sessions; there are mindeye2_subj01_40sess, "),
        ({"sessions": [2]}, "mindeye2_released_unrefined has no published network of subj01 at 2 sessions"),
        ({"sessions": ["10min"]}, "no published network of subj01 at 0.166667 sessions"),
        ({"split": "shared982"}, "no published network of subj01 at 37 sessions"),
        ({"encoder": "openclip_bigg_symmetric"}, "decode tokens of openclip_bigg, not of openclip_bigg_symmetric"),
        ({"split": "cluster0"}, "were trained on test images of cluster0"),
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
    with pytest.raises(UserError, match=r"decode NSD's subjects, but dataset\.kind is 'simulated'"):
        Study(changed(methods=["mindeye2_released"]))


def test_a_blend_has_its_two_parts_in_the_registry():
    study = Study(DEMO)
    for blended in study.having("stage", "blended"):
        entry = study.registries["methods"][blended]
        parts = [study.registries["methods"][study.stage_of(entry["of"], part)] for part in ("refined", "lowlevel")]
        assert [part["of"] for part in parts] == [entry["of"]] * 2
