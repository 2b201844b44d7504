"""MinD-Vis's studies: on GOD and BOLD5000, pretrained on other subjects or on a pool, with published networks."""

import pytest
from configurations import merged

from fmri2img.disk import results_bytes
from fmri2img.errors import UserError
from fmri2img.methods.mindvis.card import card
from fmri2img.study import Study

GOD = {"source": "simulated", "root": "data/god", "simulation": {"seed": 0, "subjects": 3}}
BOLD = {"source": "simulated", "root": "data/bold5000", "simulation": {"seed": 0}}
HCP = {"source": "simulated", "root": "data/hcp", "simulation": {"seed": 0, "subjects": 2}}


def on_god(**mindvis) -> dict:
    config = merged("mindvis.yaml")
    config["mindvis"]["pretraining"] |= mindvis
    return config | {"god": GOD, "subjects": ["Subject1", "Subject2", "Subject3"]}


def test_the_study_runs_on_god_and_is_pretrained_on_the_other_subjects():
    study = Study(on_god())
    found = {one.pool: one.subjects for one in study.pretrainings_of(["mindvis", "mindvis_scratch"])}
    assert sorted(map(tuple, found.values())) == [
        ("Subject1", "Subject2"), ("Subject1", "Subject3"), ("Subject2", "Subject3"),
    ]  # fmt: skip
    assert study.metrics["top1_50way_vit_h14"]["chance"] == 0.02


def test_a_pool_takes_the_place_of_the_other_subjects_and_is_shared():
    config = on_god(pools=["hcp"], subjects=[]) | {"pools": ["hcp"], "hcp": HCP}
    (one,) = Study(config).pretrainings_of(["mindvis"])
    assert one.subjects == ["hcp/100001", "hcp/100002"]
    with pytest.raises(UserError, match=r"key 'mindvis\.pretraining\.pools': hcp is not in pools"):
        Study(on_god(pools=["hcp"]))
    with pytest.raises(UserError, match="no subject is left to pretrain on when decoding Subject1"):
        Study(on_god(subjects=["Subject1"]))


def test_the_study_runs_on_bold5000():
    config = merged("mindvis.yaml", "mindvis_bold5000.yaml") | {"bold5000": BOLD, "subjects": ["CSI1", "CSI2"]}
    study = Study(config)
    assert study.test_sets == ["repeated"] and study.section("mindvis")["finetuning"]["training"]["batch"] == 25


def test_published_networks_are_not_used_for_simulated_subjects():
    config = on_god()
    config |= {"methods": ["mindvis_released"], "subjects": ["Subject3"]}
    with pytest.raises(UserError, match="mindvis_released only covers the subjects of god"):
        Study(config)
    with pytest.raises(UserError, match="no published network of Subject1"):
        Study(config | {"subjects": ["Subject1"]})


def test_all_samples_of_an_image_need_room_on_the_disk_also_of_the_floor():
    study, one = Study(on_god()), on_god()
    one["mindvis"]["decoding"]["samples"] = 1
    cells = len(study.cells("mindvis")) + len(study.cells("mindvis_shuffled_brain"))
    further = 4 * 3 * 256**2 * study.dataset.sizes(study).test_images * 2 * cells  # two variants
    assert cells == 18 and results_bytes(study) - results_bytes(Study(one)) == further


@pytest.mark.parametrize("value", [0, -1.5, "wide"])
def test_a_spread_of_the_context_is_a_number_above_zero(value):
    config = merged()
    config["mindvis"]["context_spread"] = value
    with pytest.raises(UserError, match=r"key 'mindvis\.context_spread'"):
        Study(config)


def test_the_card_says_what_the_demo_does_otherwise():
    config = merged()
    deviations = card(Study(config).config, False, [])["deviations"]
    assert "standard deviation over training trials is 1.5. " in deviations["start of stage B"]
    assert deviations["samples"] == "Pictures drawn and scored of each image: 1; published: 5."
    assert set(card(Study(on_god()).config, False, [])["deviations"]) == {"stage A", "betas"}


def test_the_card_lists_the_switches_and_what_the_study_does_of_them():
    config = merged()
    rows = card(Study(config).config, False, [])["known_defects"].set_index("key")
    assert list(rows["reproduced"]) == ["no", "no", "yes", "no"]
    config["mindvis"]["finetuning"]["tune_on_test"] = {"epochs": 15}
    config["mindvis"]["position_resizing"] = "nearest"
    rows = card(Study(config).config, False, [])["known_defects"].set_index("key")
    assert rows.loc["mindvis.finetuning.tune_on_test", "reproduced"] == "yes"
    assert rows.loc["mindvis.position_resizing", "reproduced"] == "yes"
