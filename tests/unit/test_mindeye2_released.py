"""Import of published MindEye2 checkpoints, and parity with the published code.

tests/fixtures/mindeye2_reference.safetensors holds the outputs of the published implementation (MindEyeV2 c184718 with
dalle2-pytorch 1.15.6) for a small model of two subjects, the names and shapes of its weights (file metadata "shapes"),
and the tables of its noise schedule. Weights and inputs are drawn from seeds, here as there.
"""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from published_weights import drawn
from recordings import small_recording
from safetensors import safe_open

from fmri2img.errors import UserError
from fmri2img.methods.mindeye2.network import MindEye2, load_model
from fmri2img.methods.mindeye2.released import import_checkpoint, published_name
from fmri2img.methods.mindeye2.settings import LowLevelConfig, ModelConfig
from fmri2img.networks.prior import cosine_betas, noised, prior_loss, remaining_signal, sample
from fmri2img.networks.published import SCHEDULE_TABLES
from fmri2img.networks.settings import PriorConfig
from import_mindeye2 import main as import_mindeye2

REPOSITORY = Path(__file__).resolve().parents[2]
SUBJECTS, VOXELS, TRIALS, TOKENS, WIDTH, STEPS = ["subj01", "subj02"], (20, 23), 3, 12, 32, 20
SCHEDULE = "diffusion_prior.noise_scheduler."


@pytest.fixture(scope="module")
def reference() -> dict[str, torch.Tensor]:
    with safe_open(REPOSITORY / "tests/fixtures/mindeye2_reference.safetensors", "pt") as file:
        outputs = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dictionary)
        outputs["shapes"] = json.loads(file.metadata()["shapes"])
    return outputs


@pytest.fixture(scope="module")
def weights(reference) -> dict[str, torch.Tensor]:
    return drawn(reference, "shapes", 0, SCHEDULE)


@pytest.fixture(scope="module")
def inputs() -> dict:
    draws = np.random.RandomState(1)

    def draw(*shape):
        return torch.from_numpy(draws.standard_normal(shape).astype(np.float32))

    return {
        "betas": [draw(TRIALS, n) for n in VOXELS],
        "target": draw(TRIALS, TOKENS, WIDTH),
        "noise": draw(TRIALS, TOKENS, WIDTH),
        "noises": draw(STEPS - 1, TRIALS, TOKENS, WIDTH),
        "t": torch.tensor([3, 57, 99]),
        "keep_brain": torch.tensor([True, False, True]),
        "keep_image": torch.tensor([True, True, False]),
    }


def write(path: Path, state: dict, **wrapper) -> Path:
    torch.save({"epoch": 149, "model_state_dict": state, "train_losses": [1.0], "lrs": [3e-4], **wrapper}, path)
    return path


@pytest.fixture(scope="module")
def model(weights, tmp_path_factory):
    return import_checkpoint(write(tmp_path_factory.mktemp("released") / "last.pth", weights), SUBJECTS)


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 2e-5) -> None:
    torch.testing.assert_close(ours.detach(), theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("subject", [0, 1])
def test_encoding_equals_the_published_codes(model, reference, inputs, subject):
    encoded = model({SUBJECTS[subject]: inputs["betas"][subject]})
    close(encoded.tokens, reference[f"tokens{subject}"])
    close(encoded.projected, reference[f"projected{subject}"])
    close(encoded.maps[:, :, ::64], reference[f"maps{subject}"])
    close(encoded.latents[:, :, :: 1 + 3 * subject, :: 1 + 3 * subject], reference[f"latents{subject}"])


def test_prior_equals_the_published_codes(model, reference, inputs):
    close(model.prior(inputs["noise"], inputs["t"], reference["tokens0"]), reference["predicted"])


def test_training_loss_equals_the_published_codes(model, reference, inputs):
    drawn = [inputs[name] for name in ("t", "noise", "keep_brain", "keep_image")]
    loss, predicted = prior_loss(model.prior, inputs["target"], reference["tokens0"], *drawn)
    close(loss, reference["loss"])
    close(predicted, reference["predicted_dropped"])
    close(noised(inputs["target"], inputs["t"], inputs["noise"], 100), reference["noised"])


def test_samples_equal_the_published_codes(model, reference, inputs):
    sampled = sample(model.prior, reference["tokens0"], inputs["noises"], STEPS)
    close(sampled, reference["sample"], tolerance=5e-4)


def test_noise_schedule_equals_the_published_codes(reference):
    torch.testing.assert_close(cosine_betas(100).float(), reference["schedule.betas"])
    remaining = remaining_signal(100, torch.device("cpu"))
    torch.testing.assert_close(remaining.float(), reference["schedule.alphas_cumprod"])


def test_sizes_follow_from_the_shapes(model):
    config = model.config
    assert (config.hidden, config.tokens, config.token_width, config.blocks) == (48, TOKENS, WIDTH, 4)
    assert config.backbone == "as_released"
    assert config.low_level.latent_side == 28 and config.low_level.channels == (32, 64, 128)
    prior = config.prior
    assert (prior.depth, prior.heads, prior.head_width, prior.feedforward, prior.timesteps) == (2, 3, 36, 4, 100)
    assert model.voxels == dict(zip(SUBJECTS, VOXELS, strict=True))


def test_as_many_weights_are_expected_as_the_published_files_hold():
    """249 entries, as users of the fine-tuned checkpoints log them."""
    config = ModelConfig(
        hidden=4096,
        backbone="as_released",
        tokens=256,
        token_width=1664,
        low_level=LowLevelConfig(),
        prior=PriorConfig(),
    )
    with torch.device("meta"):
        names = MindEye2(config, {"subj01": 15724}).state_dict()
    rotations = {f"layers.{layer}.rotation" for layer in range(1, config.prior.depth)}  # ours has one for all layers
    assert len({published_name(name, ["subj01"]) for name in names} | rotations) + len(SCHEDULE_TABLES) == 249


def altered(weights: dict, tmp_path: Path, **changes) -> Path:
    """A checkpoint with keys set to other tensors, or taken out (None); "__" in a name stands for "."."""
    state = dict(weights)
    for name, value in changes.items():
        key = name.replace("__", ".")
        state.pop(key, None)
        if value is not None:
            state[key] = value
    return write(tmp_path / "last.pth", state)


TRANSFORMER = "diffusion_prior__net__causal_transformer__"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"backbone__clip_proj__2__weight": None}, "missing backbone.clip_proj.2.weight"),
        ({"backbone__clip_proj__0__weight": None}, "missing backbone.clip_proj.0.weight"),
        ({"ridge__linears__1__weight": None}, "missing ridge.linears.1.weight"),
        ({"backbone__blin1__bias": None}, "missing backbone.blin1.bias"),
        ({"diffusion_prior__noise_scheduler__p2_loss_weight": None}, "p2_loss_weight"),
        ({TRANSFORMER + "layers__1__0__rotary_emb__freqs": None}, r"layers\.1\.0\.rotary_emb\.freqs"),
        ({"backbone__extra": torch.zeros(1)}, "unexpected backbone.extra"),
        ({"backbone__mixer_blocks1__3__1__5__bias": torch.zeros(48)}, "unexpected backbone.mixer_blocks1.3.1.5.bias"),
        ({"backbone__blin1__bias": None, "backbone__blin__bias": torch.zeros(3136)}, r"blin1\.bias; .*blin\.bias"),
        ({"backbone__bnorm__bias": torch.zeros(65)}, r"backbone\.bnorm\.bias \(65,\) instead of \(64,\)"),
        ({"backbone__mixer_blocks2__0__1__0__weight": torch.zeros(2, 2)}, r"mixer_blocks2\.0\.1\.0\.weight \(2, 2\)"),
        ({"backbone__bnorm__weight": torch.tensor(1.0)}, "bnorm.weight"),
        ({"diffusion_prior__noise_scheduler__betas": torch.full((100,), 0.01)}, "noise_scheduler.betas"),
        ({TRANSFORMER + "layers__1__0__rotary_emb__freqs": torch.ones(16)}, r"layers\.1\.0\.rotary_emb\.freqs"),
    ],
)
def test_every_key_is_accounted_for(weights, tmp_path, changes, named):
    with pytest.raises(UserError, match=named) as error:
        import_checkpoint(altered(weights, tmp_path, **changes), SUBJECTS)
    assert "last.pth" in str(error.value) and "\n" not in str(error.value)


def test_subjects_must_match_the_ridge_layers(weights, tmp_path):
    path = write(tmp_path / "last.pth", weights)
    with pytest.raises(UserError, match="2 ridge layers"):
        import_checkpoint(path, ["subj01"])
    with pytest.raises(UserError, match="twice"):
        import_checkpoint(path, ["subj01", "subj01"])


def test_seven_subjects_take_their_layers_in_order(weights, tmp_path):
    layers = {f"ridge__linears__{i}__weight": torch.full((48, 5 + i), float(i)) for i in range(7)}
    layers |= {f"ridge__linears__{i}__bias": torch.full((48,), float(i)) for i in range(7)}
    names = [f"subj0{i}" for i in range(2, 9)]
    model = import_checkpoint(altered(weights, tmp_path, **layers), names)
    assert model.voxels == {name: 5 + i for i, name in enumerate(names)}
    assert [model.adapters[name].bias[0].item() for name in names] == list(range(7))


def test_checkpoint_without_low_level_head(weights, model, inputs, tmp_path):
    low_level = ("backbone.blin1", "backbone.bnorm", "backbone.bupsampler", "backbone.b_maps_projector")
    state = {key: value for key, value in weights.items() if not key.startswith(low_level)}
    without = import_checkpoint(write(tmp_path / "last.pth", state), SUBJECTS)
    assert without.low_level is None
    betas = {"subj01": inputs["betas"][0]}
    close(without(betas).projected, model(betas).projected)


def test_half_precision_checkpoint_becomes_float32(weights, model, inputs, tmp_path):
    half = import_checkpoint(write(tmp_path / "last.pth", {k: v.half() for k, v in weights.items()}), SUBJECTS)
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    betas = {"subj01": inputs["betas"][0]}
    close(half(betas).tokens, model(betas).tokens, tolerance=1e-2)


@pytest.mark.parametrize("form", ["deepspeed", "bare", "wrapped"])
def test_other_forms_of_the_same_checkpoint(weights, model, tmp_path, form):
    path = tmp_path / "last.pth"
    if form == "deepspeed":
        torch.save({"module": weights, "dp_world_size": 8, "ds_version": "0.13.1"}, path)
    elif form == "bare":
        torch.save(weights, path)
    else:
        write(path, {f"module.{key}": value for key, value in weights.items()})
    again = import_checkpoint(path, SUBJECTS).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())


class Planted:
    """Unpickling this calls print."""

    def __reduce__(self):
        return print, ("code from a checkpoint ran",)


def test_code_in_a_checkpoint_is_not_run(weights, tmp_path, capsys):
    with pytest.raises(UserError, match="objects other than tensors"):
        import_checkpoint(write(tmp_path / "last.pth", weights, lr_scheduler=Planted()), SUBJECTS)
    assert "ran" not in capsys.readouterr().out


def test_objects_of_deepspeed_are_left_out_whether_it_is_installed_or_not(weights, model, tmp_path, monkeypatch):
    """As in published checkpoints; the class is known only while it is pickled."""
    names = ("deepspeed", "deepspeed.runtime", "deepspeed.runtime.scaler")
    modules = {name: ModuleType(name) for name in names}
    scaler = type("LossScaler", (), {"__module__": names[-1]})
    modules[names[-1]].LossScaler = scaler
    with monkeypatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        held = scaler()
        held.cur_scale = 65536
        path = write(tmp_path / "last.pth", weights, optimizer_state_dict={"loss_scaler": held})
        planted = write(tmp_path / "planted.pth", weights, optimizer_state_dict={"a": held, "b": Planted()})
    again = import_checkpoint(path, SUBJECTS).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())
    with pytest.raises(UserError, match="objects other than tensors"):
        import_checkpoint(planted, SUBJECTS)


def test_a_published_network_must_fit_the_recording_that_it_will_decode(weights, tmp_path, capsys):
    subject_2 = {key: value for key, value in weights.items() if not key.startswith("ridge.")}
    subject_2 |= {f"ridge.linears.0.{part}": weights[f"ridge.linears.1.{part}"] for part in ("weight", "bias")}
    command = [str(write(tmp_path / "last.pth", subject_2)), "--subjects", "subj02"]
    command += ["--output", str(tmp_path / "model"), "--sessions", "2", "--pretrained-on", "subj01", "subj03"]
    for voxels, status in ((22, 1), (23, 0)):
        recording = small_recording(tmp_path / f"voxels{voxels}", "subj02", voxels)
        assert import_mindeye2([*command, "--recording", str(recording)]) == status
    assert "voxels22: has 22 voxels, but the published network has 23 voxels for subj02" in capsys.readouterr().err
    metadata = load_model(tmp_path / "model")[1]
    assert metadata["training_subjects"] == ["subj01", "subj02", "subj03"]
    assert (metadata["trials"], metadata["images"]) == (4, 3)  # of two sessions, test trials apart
    other = [*command[:2], "subj05", *command[3:], "--recording", str(tmp_path / "voxels23")]
    assert import_mindeye2(other) == 1
    assert "has subj05 and not subj02" in capsys.readouterr().err


def test_files_that_are_no_checkpoint(tmp_path):
    (tmp_path / "page.html").write_text("<html>not found</html>")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    for name, said in (("page.html", "page.html"), ("empty.pth", "model_state_dict"), ("none.pth", "no such file")):
        with pytest.raises(UserError, match=said):
            import_checkpoint(tmp_path / name, SUBJECTS)


def test_command_writes_a_model_that_loads(weights, model, inputs, tmp_path, capsys):
    command = [str(write(tmp_path / "last.pth", weights)), "--output", str(tmp_path / "model")]
    assert import_mindeye2([*command, "--subjects", "subj01"]) == 1
    refused = capsys.readouterr().err
    assert refused.startswith("error: ") and refused.count("\n") == 1
    assert import_mindeye2([*command, "--subjects", *SUBJECTS]) == 0
    loaded, metadata = load_model(tmp_path / "model")
    assert metadata["origin"] == "last.pth" and len(metadata["origin_sha256"]) == 64
    betas = {"subj02": inputs["betas"][1]}
    close(loaded(betas).latents, model(betas).latents)
