"""Methods as their folders declare them: the grammar of names, and what is wrong with a method.yaml."""

import pytest
import yaml
from folders import METHOD, method_folder

from fmri2img import plugins
from fmri2img.errors import UserError
from fmri2img.methods.plan import fixing_control
from fmri2img.methods.registry import LINEAR, read_methods

TRAINED = {
    "task": "task:Task",
    "decode": "decode:decode",
    "variants": {
        "default": {"training": {"pretrained": True}, "reference": "A."},
        "scratch": {"title": "not pretrained", "training": {"pretrained": False}, "origin": "faithful"},
        "published": {"released": "net_{subject}_{sessions}", "stands_for": "default"},
    },
    "stages": {
        "rough": {"kind": "decoder", "drawing": "unclip", "outputs": ["images", "retrieval"], "reference": "R."},
        "fine": {
            "title": "fine", "drawing": "refine", "takes": {"unrefined": "rough"}, "outputs": ["images", "captions"],
            "reference": "F.",
        },
    },
}  # fmt: skip
REGRESSION = {"array": "tokens", "target": "encoder", "penalty": {"fixed": 1.0}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A function that writes and registers a folder, and gives the entries that it adds to the registry."""
    monkeypatch.setattr(plugins, "OUTSIDE", {})

    def make(name="planted", without=(), **keys):
        before = set(read_methods())
        plugins.register(method_folder(tmp_path / name, without=without, **keys))
        return {method: entry for method, entry in read_methods().items() if method not in before}

    return make


def test_a_folder_without_variants_and_stages_is_one_method_of_its_name(folder):
    found = folder(linear=[REGRESSION])
    assert list(found) == ["planted"]
    entry = found["planted"]
    assert (entry["title"], entry["kind"], entry["origin"]) == ("Planted", "decoder", "port")
    assert (entry["decoder"], entry["decode"], entry["folder"]) == ("planted", LINEAR, "planted")
    assert entry["linear"][0]["regions"] == "all" and entry["linear"][0]["calibration"] == "training_images"


def test_names_of_a_family_are_decoder_variant_and_stage(folder):
    found = folder(without=("drawing", "outputs"), **TRAINED)
    names = ["planted", "planted_scratch", "planted_published"]
    assert list(found) == [f"{decoder}_{stage}" for decoder in names for stage in ("rough", "fine")]
    assert {name: entry["decoder"] for name, entry in found.items()} == {
        f"{decoder}_{stage}": decoder for decoder in names for stage in ("rough", "fine")
    }
    fine = found["planted_scratch_fine"]
    assert (fine["kind"], fine["stage"], fine["of"]) == ("stage", "fine", "planted_scratch_rough")
    assert fine["takes"] == {"unrefined": "planted_scratch_rough"} and fine["origin"] == "faithful"
    assert fine["title"] == "Planted, not pretrained (fine)" and fine["reference"] == "None. F."
    assert found["planted_rough"]["reference"] == "None. A. R."


def test_variants_say_how_they_are_fitted(folder):
    found = folder(without=("drawing", "outputs"), **TRAINED)
    assert (
        found["planted_rough"]["training"]["pretrained"]
        and not found["planted_scratch_rough"]["training"]["pretrained"]
    )
    task = "fmri2img.methods.planted.task:Task"
    assert found["planted_rough"]["task"] == {"pretraining": task, "finetuning": task}
    published = found["planted_published_rough"]
    assert published["released"] == "net_{subject}_{sessions}" and "training" not in published
    assert published["decode"] == "fmri2img.methods.planted.decode:decode"
    assert published["stands_for"] == "planted_rough"
    assert found["planted_published_fine"]["stands_for"] == "planted_fine"
    # How a decoder is fitted is said of its first stage alone, so that it is fitted once.
    assert not {"training", "released", "task"} & set(found["planted_fine"])


def test_floors_are_of_each_method_and_controls_of_each_decoder(folder):
    keys = TRAINED | {"variants": {}, "floors": ["shuffled_brain"], "controls": ["nearest_neighbour"]}
    found = folder(without=("drawing", "outputs", "task", "decode"), **{k: v for k, v in keys.items() if k in (
        "stages", "variants", "floors", "controls")})  # fmt: skip
    assert list(found) == [
        "planted_rough", "planted_fine", "planted_rough_shuffled_brain", "planted_fine_shuffled_brain",
        "planted_nearest_neighbour",
    ]  # fmt: skip
    floor = found["planted_fine_shuffled_brain"]
    assert (floor["kind"], floor["of"], floor["source"]) == ("control", "planted_fine", "planted_fine")
    assert floor["outputs"] == ["images", "captions"] and floor["varies_with"] == METHOD["varies_with"]
    assert floor["scale"] == {"floor": ["images", "brain", "captions"]}
    near = found["planted_nearest_neighbour"]
    assert (near["of"], near["source"], near["made_by"]["of"]) == ("planted_rough", "planted", "decoded")


def test_a_control_varies_with_no_more_than_its_method(folder):
    found = folder(varies_with=["subject", "sessions"], linear=[REGRESSION], floors=["shuffled_brain"])
    assert found["planted_shuffled_brain"]["varies_with"] == ["subject", "sessions"]


def test_a_floor_of_the_method_itself_fixes_its_scale(folder):
    found = folder(linear=[REGRESSION], floors=["shuffled_brain"])
    entries = {
        name: entry for name, entry in read_methods().items() if name in (*found, "ridge", "ridge_shuffled_brain")
    }
    assert fixing_control(entries, "planted", "floor", "images") == "planted_shuffled_brain"
    assert fixing_control(entries, "ridge", "floor", "images") == "ridge_shuffled_brain"
    assert fixing_control(entries, "planted", "floor", "captions") == ""


@pytest.mark.parametrize(
    ("without", "keys", "message"),
    [
        (("title",), {}, "key 'title': missing; add it"),
        ((), {"tittle": "x"}, "key 'tittle': unknown; did you mean 'title'?"),
        ((), {"kind": "judge"}, "key 'kind': 'judge' is not one of decoder, control"),
        ((), {"outputs": ["pictures"]}, "key 'outputs': .'pictures'. is not a list of images, captions"),
        ((), {"varies_with": "seed"}, "key 'varies_with': 'seed' is not a list"),
        ((), {"linear": [REGRESSION | {"penalty": {}}]}, "key 'linear.0.penalty': give one of fixed and choose_from"),
        ((), {"linear": [REGRESSION | {"penalty": {"fixed": -1.0}}]}, "key 'linear.0.penalty.fixed': -1.0 is out"),
        ((), {"linear": [REGRESSION, REGRESSION]}, "key 'linear': two regressions have the same array"),
        ((), {"linear": [REGRESSION], "task": "task:Task"}, "key 'linear': a linear decoder has neither"),
        ((), {"made_by": {"function": "d.f"}}, "key 'made_by.function': 'd.f' .*write module:name"),
        ((), {"made_by": {"function": "d:f", "needs": ["brain"]}}, "key 'made_by.needs.0': 'brain' is not"),
        (("drawing",), {"linear": [REGRESSION]}, "key 'drawing': missing; name the pipeline"),
        (("outputs",), {}, "key 'outputs': only a control with made_by.of inherits it; list it"),
        ((), {"configured_by": "inherited"}, "key 'configured_by': only a control with made_by.of inherits it"),
        ((), {"variants": TRAINED["variants"]}, "key 'task': missing; variant 'default' has training"),
        ((), {"variants": {"default": {"stands_for": "x"}}}, "key 'variants.default.stands_for': 'x' is not a variant"),
        ((), {"stages": {"fine": TRAINED["stages"]["fine"]}}, "key 'stages': 0 of them have kind: decoder"),
        (
            (),
            {"stages": TRAINED["stages"] | {"fine": TRAINED["stages"]["fine"] | {"takes": {"unrefined": "rogh"}}}},
            "key 'stages.fine.takes.unrefined': 'rogh' is not a stage; did you mean 'rough'?",
        ),
        ((), {"floors": ["ridge"]}, "key 'floors': 'ridge' is not a control of other methods"),
        ((), {"controls": ["shufled_brain"]}, "key 'controls': .*did you mean 'shuffled_brain'?"),
        ((), {"of": "rigde"}, "key 'of': 'rigde' is not a method; did you mean 'ridge'?"),
    ],
)  # fmt: skip
def test_a_wrong_record_is_one_line_naming_file_and_key(folder, without, keys, message):
    with pytest.raises(UserError, match=f"planted/method.yaml: {message.replace('?', '[?]')}") as error:
        folder(without=without, **keys)
    assert "\n" not in str(error.value)


def test_a_record_that_is_not_yaml_or_no_table_is_named(folder, tmp_path):
    for name, text, message in (
        ("unclosed", "title: [", "unclosed/method.yaml: not YAML"),
        ("listed", "- title", "listed/method.yaml: .* is not a table of keys and values"),
        ("empty", "", "empty/method.yaml: .* is not a table of keys and values"),
    ):
        path = tmp_path / name
        path.mkdir()
        (path / "method.yaml").write_text(text)
        plugins.register(path)
        with pytest.raises(UserError, match=message) as error:
            read_methods()
        assert "\n" not in str(error.value)
        plugins.OUTSIDE.clear()


def test_two_folders_cannot_declare_the_same_method(folder):
    """ridge has a floor ridge_shuffled_brain; a folder of that name, or a variant that makes it, clashes."""
    with pytest.raises(UserError, match="'ridge_shuffled_brain' is already a method of folder"):
        folder("ridge_shuffled_brain", linear=[REGRESSION])


def test_a_variant_that_makes_the_name_of_another_folder_clashes(folder):
    folder("planted_scratch", linear=[REGRESSION])
    variants = {"default": {}, "scratch": {}}
    with pytest.raises(UserError, match=r"method\.yaml: 'planted_scratch' is already a method of folder planted"):
        folder("planted", variants=variants)


def test_every_folder_here_declares_what_the_registry_lists():
    """Each entry leads back to a folder, its functions are of that folder, and what it is made of is registered."""
    entries = read_methods()
    assert {entry["folder"] for entry in entries.values()} >= set(plugins.folders("methods")) - {
        name for name, path in plugins.folders("methods").items()
        if (yaml.safe_load((path / "method.yaml").read_text()).get("made_by") or {}).get("of")
    }  # fmt: skip
    for name, entry in entries.items():
        assert entry["module"] == f"fmri2img.methods.{entry['folder']}", name
        assert entry.get("of", name) in entries and set(entry.get("takes", {}).values()) <= set(entries), name
        assert entry["sentence"].endswith(".") and entry["reference"].endswith("."), name
