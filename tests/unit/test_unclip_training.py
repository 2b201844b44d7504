"""Training of the unCLIP generator: what it starts from, what it minimises, on which pictures, and exact resumption."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file

from demo_networks import measure, train, unclip
from demo_networks import pictures as sources
from demo_networks.initialisation import initialise_from, size_columns
from demo_networks.stages import engine_configuration
from demo_networks.unet import build, losses, noise_schedule, noised
from fmri2img.artifacts.embeddings import save_embeddings
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import save_stimuli
from fmri2img.backbones.autoencoders import Autoencoder
from fmri2img.backbones.generators import load_generator, scheduler_from_config
from fmri2img.backbones.registry import Backbone, load_registry
from fmri2img.errors import UserError
from fmri2img.training import checkpoint
from fmri2img.training.configuration import TrainingConfig

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "resources" / "demo_backbones"
RECIPES = REPOSITORY / "tools" / "demo_networks" / "recipes"
CPU = torch.device("cpu")
TINY = {"plain": 1, "layers_per_block": 1, "heads": [2, 2], "norm_num_groups": 2, "block_out_channels": [8, 8]}
SDXL_BASE = {
    "sample_size": 128, "in_channels": 4, "out_channels": 4, "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [320, 640, 1280], "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20], "cross_attention_dim": 2048, "use_linear_projection": True,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip


def small_base() -> UNet2DConditionModel:
    """A text-to-image UNet with SDXL's vector condition: a pooled text of 24 and six sizes of 8 values."""
    changed = {
        "block_out_channels": [8, 16, 16], "attention_head_dim": [2, 2, 2], "transformer_layers_per_block": [1, 1, 2],
        "norm_num_groups": 4, "cross_attention_dim": 12, "addition_time_embed_dim": 8, "sample_size": 8,
        "projection_class_embeddings_input_dim": 24 + 6 * 8,
    }  # fmt: skip
    torch.manual_seed(0)
    return UNet2DConditionModel(**SDXL_BASE | changed)


@pytest.mark.parametrize(("columns", "first"), [("sizes", 24), ("released", 0)])
def test_only_keys_values_and_the_vector_condition_differ_from_the_base(columns, first):
    base = small_base()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    torch.manual_seed(1)
    unet = initialise_from(base, 20, columns)
    after = unet.state_dict()
    changed = {name for name in before if before[name].shape != after[name].shape}
    attentions = {name.removesuffix(".norm2.weight") for name in before if name.endswith(".norm2.weight")}
    attentions = {name for name in attentions if f"{name}.attn2.to_k.weight" in before}
    assert len(attentions) == (2 * 1 + 2 * 2) + 2 + (3 * 2 + 3 * 1)  # on the way down, in the middle, on the way up
    expected = {f"{name}.attn2.to_{letter}.weight" for name in attentions for letter in "kv"}
    assert changed == expected | {"add_embedding.linear_1.weight"}
    for name in before.keys() - changed:
        assert torch.equal(before[name], after[name]), name
    kept = before["add_embedding.linear_1.weight"][:, first : first + 32]
    assert torch.equal(after["add_embedding.linear_1.weight"], kept)
    fresh = torch.cat([after[name].flatten() for name in sorted(expected)])
    assert fresh.abs().max() <= 20**-0.5 and abs(fresh.std() * (3 * 20) ** 0.5 - 1) < 0.05
    inputs = torch.randn(2, 4, 8, 8), torch.tensor([3, 700]), torch.randn(2, 5, 20)
    added = {"text_embeds": torch.zeros(2, 0), "time_ids": torch.full((2, 4), 64.0)}
    assert torch.isfinite(unet(*inputs, added_cond_kwargs=added).sample).all()


def test_kept_sizes_mean_what_they_meant():
    """With equal keys and values and a zero pooled text and target size column, base and new network agree."""
    base = small_base()
    with torch.no_grad():
        weight = base.add_embedding.linear_1.weight
        weight[:, :24] = 0
        weight[:, 24 + 32 :] = 0
    reference = small_base()
    reference.load_state_dict(base.state_dict())
    unet = initialise_from(base, 12)
    same = {name: tensor for name, tensor in reference.state_dict().items() if ".attn2.to_" in name}
    unet.load_state_dict(same, strict=False)
    noisy, tokens, sizes = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 12), torch.tensor([[480.0, 640, 3, 17]] * 2)
    with torch.no_grad():
        ours = unet(noisy, 9, tokens, added_cond_kwargs={"text_embeds": torch.zeros(2, 0), "time_ids": sizes}).sample
        six = torch.cat([sizes, torch.full((2, 2), 512.0)], 1)
        theirs = reference(noisy, 9, tokens, added_cond_kwargs={"text_embeds": torch.randn(2, 24), "time_ids": six})
    torch.testing.assert_close(ours, theirs.sample)


def test_sdxl_base_becomes_the_registered_unclip():
    with torch.device("meta"):
        unet = initialise_from(UNet2DConditionModel(**SDXL_BASE), 1664, sample_size=96)
        registered = UNet2DConditionModel(**load_registry()["sdxl_unclip"].record["unet"])
    shapes, expected = ({k: tuple(v.shape) for k, v in net.state_dict().items()} for net in (unet, registered))
    assert shapes == expected
    assert unet.config.sample_size == registered.config.sample_size
    assert size_columns(2816, 256, "sizes") == slice(1280, 2304)
    assert size_columns(2816, 256, "released") == slice(0, 1024)


def test_the_papers_recipe_begins_with_sdxl_base(monkeypatch):
    """The recipe file itself, on a device without memory."""
    asked = []

    def meta(folder):
        asked.append(str(folder))
        with torch.device("meta"):
            return UNet2DConditionModel(**SDXL_BASE)

    monkeypatch.setattr(Backbone, "checked_folder", lambda backbone: Path("models") / backbone.name)
    monkeypatch.setattr(unclip.UNet2DConditionModel, "from_pretrained", meta)
    recipe, registry = unclip.read_recipe(RECIPES / "unclip_sdxl.yaml"), load_registry()
    encoder = registry[recipe["pictures"]["encoder"]].record
    unet = unclip.first_weights(recipe["start"], 0, (4, 64, 64), encoder["token_width"], registry)
    assert asked == ["models/sdxl_base/unet"]
    with torch.device("meta"):
        registered = UNet2DConditionModel(**registry["sdxl_unclip"].record["unet"])
    shapes, expected = ({k: tuple(v.shape) for k, v in net.state_dict().items()} for net in (unet, registered))
    assert shapes == expected and unet.config.sample_size == registered.config.sample_size


def test_the_demos_unclip_can_begin_with_its_text_to_image_network(tmp_path):
    start = {"network": "demo_text2img"}
    unet, base = (
        unclip.first_weights(start, 0, (8, 16, 16), 96, load_registry()).state_dict(),
        UNet2DConditionModel.from_pretrained(DEMO / "text2img" / "unet").float().state_dict(),
    )
    fresh = {name for name in base if not torch.equal(base[name], unet[name])}
    assert fresh and fresh == {name for name in base if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}
    with pytest.raises(UserError, match=r"'start\.network': 'no_such' is not an entry"):
        unclip.first_weights({"network": "no_such"}, 0, (8, 16, 16), 96, {})


def test_networks_without_size_conditioning_are_refused():
    plain = UNet2DConditionModel(**{k: v for k, v in dict(small_base().config).items() if not k.startswith("addition")})
    with pytest.raises(UserError, match="SDXL kind"):
        initialise_from(plain, 20)


class Silent(torch.nn.Module):
    """Predicts zero, so that the loss is the target's mean square, and keeps what it was given."""

    def forward(self, noisy, times, encoder_hidden_states, added_cond_kwargs):
        self.noisy, self.times, self.tokens = noisy, times, encoder_hidden_states
        return type("Out", (), {"sample": torch.zeros_like(noisy)})


def loss_of(network, scheduler, latents, tokens, dropout, **noise):
    """The loss of one batch, with noise from a generator of its own."""
    batch = len(latents)
    inputs = noised(scheduler, latents, batch, slice(None), torch.Generator().manual_seed(0), dropout, **noise)
    (term,) = losses(network, scheduler, tokens=tokens, time_ids=torch.zeros(batch, 4), **inputs).items()
    return term


def test_offset_noise_shifts_each_channel_of_each_picture_by_its_own_amount():
    scheduler, network = DDPMScheduler(beta_schedule="scaled_linear"), Silent()
    arguments = (torch.zeros(400, 4, 16, 16), torch.ones(400, 3, 2), 0.0)
    name, value = loss_of(network, scheduler, *arguments, offset_noise=0.5, timesteps="uniform")
    assert name == "epsilon"
    share = (1 - scheduler.alphas_cumprod[network.times]).sqrt()[:, None, None, None]
    noise = network.noisy / share
    assert float(value) == pytest.approx(float(noise.square().mean()), rel=1e-4)
    means = noise.mean((2, 3))
    assert float(means.std()) == pytest.approx((0.5**2 + 1 / 256) ** 0.5, rel=0.05)
    assert np.abs(np.corrcoef(means.T.numpy()) - np.eye(4)).max() < 0.15
    assert float((noise - means[:, :, None, None]).std()) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_loss_is_the_formula_of_its_prediction(prediction):
    torch.manual_seed(0)
    network = Silent()
    scheduler = DDPMScheduler.from_config(noise_schedule().config, prediction_type=prediction)
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
    root = np.sqrt(np.cumprod(1 - betas))
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])  # Lin et al. 2024, algorithm 1
    latents = torch.randn(64, 4, 8, 8)
    name, value = loss_of(network, scheduler, latents, torch.ones(64, 3, 2), 0.25)
    assert name == {"epsilon": "epsilon", "v_prediction": "v"}[prediction]
    signal = torch.tensor(root, dtype=torch.float32)[network.times][:, None, None, None]
    spread = (1 - signal**2).sqrt()
    noise = (network.noisy - signal * latents) / spread
    target = noise if prediction == "epsilon" else signal * noise - spread * latents
    torch.testing.assert_close(value, target.square().mean(), rtol=1e-3, atol=0)
    dropped = (network.tokens == 0).all((1, 2))
    assert ((network.tokens == 1).all((1, 2)) | dropped).all() and 4 <= dropped.sum() <= 30
    assert network.times.float().mean() > 600  # late times: the mean of a square root is two thirds


def test_training_schedule_is_the_stored_one():
    for name in ("demo", "sdxl"):
        recipe = unclip.read_recipe(RECIPES / f"unclip_{name}.yaml")
        stored = scheduler_from_config(recipe["scheduler"])
        trained = DDPMScheduler.from_config(stored.config)
        torch.testing.assert_close(trained.alphas_cumprod, stored.alphas_cumprod, rtol=1e-5, atol=1e-7)
        assert trained.config.prediction_type == stored.config.prediction_type
    demo = DDIMScheduler.from_pretrained(DEMO / "unclip" / "scheduler")
    recipe = unclip.read_recipe(RECIPES / "unclip_demo.yaml")
    written = scheduler_from_config(recipe["scheduler"]).config
    assert {k: v for k, v in written.items() if k[0] != "_"} == {k: v for k, v in demo.config.items() if k[0] != "_"}


def test_paper_recipe_has_the_published_numbers():
    recipe = unclip.read_recipe(RECIPES / "unclip_sdxl.yaml")
    training = recipe["training"]
    assert (recipe["offset_noise"], training["learning_rate"]) == (0.04, 1e-5)
    assert (training["warmup_steps"], training["steps"]) == (1000, 110000)
    registered = load_registry()["sdxl_unclip"].record
    for key in ("beta_start", "beta_end", "beta_schedule", "prediction_type", "num_train_timesteps"):
        assert recipe["scheduler"][key] == registered["scheduler"][key]
    assert recipe["start"]["sample_size"] == registered["unet"]["sample_size"]


def test_a_trained_folder_loads_as_a_registered_generator(tmp_path):
    """The entry that recipes/unclip_sdxl.yaml describes, on a small network."""
    recipe = unclip.read_recipe(RECIPES / "unclip_sdxl.yaml")
    unet = initialise_from(small_base(), 20)
    unclip.save(tmp_path, unet, recipe)
    record = dict(load_registry()["sdxl_unclip"].record)
    for key in ("format", "checkpoint", "unet"):
        record.pop(key)
    files = ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"]
    record |= {"source": {"folder": tmp_path}, "files": dict.fromkeys(files), "subfolder": "unet"}
    generator = load_generator(Backbone("own", record | {"scheduler": "scheduler"}), "cpu")
    published = load_generator(Backbone("own", record), "cpu")
    for name, tensor in unet.state_dict().items():
        torch.testing.assert_close(generator.unet.state_dict()[name], tensor.float(), msg=name)
    torch.testing.assert_close(generator.set_timesteps(38), published.set_timesteps(38))
    torch.testing.assert_close(generator.scheduler.sigmas, published.scheduler.sigmas)


class Noise:
    """Random pictures; stops the run like a kill after so many batches."""

    device, latent_shape, tokens, token_width = CPU, (4, 8, 8), 4, 6

    def __init__(self, stop_after=None):
        self.batches, self.stop_after = 0, stop_after

    def sources(self):
        return {"pictures": "noise"}

    def batch(self, rng, size, rows=slice(None)):
        self.batches += 1
        if self.stop_after is not None and self.batches > self.stop_after:
            raise KeyboardInterrupt
        shapes = (size, 4, 8, 8), (size, 4, 6), (size, 4)
        return tuple(torch.from_numpy(rng.standard_normal(shape).astype(np.float32))[rows] for shape in shapes)


def tiny_recipe(**training) -> dict:
    recipe = unclip.read_recipe(RECIPES / "unclip_demo.yaml")
    sizes = {"steps": 4, "batch": 4, "learning_rate": 1e-2, "warmup_steps": 2, "checkpoint_steps": 1}
    start = {"build": TINY | {"time_embedding_dim": 16}}
    return recipe | {"start": start, "offset_noise": 0.1, "training": recipe["training"] | sizes | training}


@pytest.fixture
def one_thread():
    """Sums of several threads may end in other bits on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def trained(monkeypatch):
    """A function that trains on random pictures, or on those given, and returns the weights."""

    def run(recipe, work, pictures=None):
        monkeypatch.setattr(unclip, "open_pictures", lambda *_: pictures or Noise())
        unclip.train(recipe, None, work, work)
        return UNet2DConditionModel.from_pretrained(work / "unclip" / "unet").state_dict()

    return run


def test_a_killed_run_ends_with_the_same_bits(tmp_path, trained, one_thread):
    recipe = tiny_recipe(accumulation=2, ema=0.9, activation_checkpointing=True)
    whole = trained(recipe, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(recipe, tmp_path / "cut", Noise(stop_after=5))
    assert not (tmp_path / "cut" / "unclip").exists()
    resumed = trained(recipe, tmp_path / "cut")
    untrained = unclip.first_weights(recipe["start"], 0, (4, 8, 8), 6, {}).state_dict()
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name
    assert not torch.equal(whole["conv_in.weight"], untrained["conv_in.weight"])


@pytest.mark.parametrize("mixing", [0.0, 0.5])
def test_processes_together_train_on_the_batch_of_one(tmp_path, monkeypatch, mixing):
    monkeypatch.setattr(unclip, "open_pictures", lambda *_: Noise())
    recipe = tiny_recipe() | {"token_mixing": mixing, "work": str(tmp_path), "siblings": str(tmp_path)}
    task = unclip.UnclipTask(recipe, TrainingConfig.read(engine_configuration(recipe["training"])))
    whole = task.inputs(3, 3, 4, 0, 1, CPU)
    halves = [task.inputs(3, 3, 4, rank, 2, CPU) for rank in (0, 1)]
    for name, rows in whole.items():
        torch.testing.assert_close(torch.cat([half[name] for half in halves]), rows, msg=name)
    assert not torch.equal(task.inputs(4, 4, 4, 0, 1, CPU)["noisy"], whole["noisy"])


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path, trained):
    class Broken(Noise):
        def batch(self, rng, size, rows=slice(None)):
            latents, *rest = super().batch(rng, size, rows)
            return latents * (float("nan") if self.batches == 3 else 1), *rest

    with pytest.raises(UserError, match="step 2: loss term 'v' is nan"):
        trained(tiny_recipe(), tmp_path, Broken())
    assert checkpoint.newest(tmp_path / "unclip.unfinished").name == "step-00000002"


class Encoder:
    """Tokens that are the mean colours of a picture's quarters."""

    model = type("M", (), {"visual": type("V", (), {"grid_size": (2, 2), "conv1": type("C", (), {"out_channels": 3})})})

    def encode_images(self, images):
        n, height, width, _ = images.shape
        quarters = images.reshape(n, 2, height // 2, 2, width // 2, 3).mean((2, 4)).reshape(n, 4, 3)
        return quarters.astype(np.float32), None


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(0)
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    return Autoencoder(AutoencoderKL(block_out_channels=[2] * 4, norm_num_groups=1, latent_channels=4, **blocks))


@pytest.fixture
def photographs(tmp_path):
    rows, columns = np.mgrid[:150, :300]
    wide = np.stack([rows, columns // 2, rows * 0], -1).astype(np.uint8)  # red tells the row, green the column
    for number, picture in enumerate([wide, wide, wide[:, :150], wide.transpose(1, 0, 2)]):
        Image.fromarray(picture).save(tmp_path / f"{number:012d}.png")
    return tmp_path


def test_photographs_keep_their_shape_and_tell_size_and_crop(photographs, autoencoder):
    files = sources.picture_files(photographs, None)
    pictures = sources.Photographs(files, Encoder(), autoencoder, max_pixels=256 * 256)
    shapes = [tuple(pictures.shapes[index]) for index in pictures.shape_of]
    assert shapes[0] == shapes[1] == (192, 320)
    assert shapes[2] == (256, 256) and shapes[3] == shapes[0][::-1]
    assert all(h * w <= 256 * 256 and h % 64 == w % 64 == 0 for h, w in pictures.shapes)
    seen = set()
    for seed in range(12):
        latents, tokens, time_ids = pictures.batch(np.random.default_rng(seed), 5)
        again = pictures.batch(np.random.default_rng(seed), 5)
        assert all(torch.equal(a, b) for a, b in zip((latents, tokens, time_ids), again, strict=True))
        half = pictures.batch(np.random.default_rng(seed), 5, slice(3, 5))
        assert torch.equal(half[1], tokens[3:]) and torch.equal(half[2], time_ids[3:])
        height, width = 8 * latents.shape[2], 8 * latents.shape[3]
        for (top_height, top_width, top, left), of in zip(time_ids.numpy(), tokens.numpy(), strict=True):
            scale = max(height / top_height, width / top_width)
            assert 0 <= top <= top_height * scale - height + 1 and 0 <= left <= top_width * scale - width + 1
            if (top_height, top_width) == (150, 300):  # the mean colour betrays where the crop was
                assert of[:, 0].mean() == pytest.approx((top + height / 2) / scale, abs=2)
                assert of[:, 1].mean() == pytest.approx((left + width / 2) / scale / 2, abs=2)
            seen.add((height, width))
        assert not latents.is_inference()
    assert len(seen) == 3


def test_the_studys_own_pictures_are_left_out(photographs, autoencoder, tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    table = pd.DataFrame(
        {
            "image_id": [2, 3, 5, 7, 11],
            "coco_id": [1, 901, 902, 2, 903],
            "captions": [["a"]] * 5,
            "categories": [["b"]] * 5,
            "name": "x",
            "source": "x",
            "cluster": None,
        }
    )
    save_stimuli(tmp_path / "stimuli", images, table, {})
    kept = sources.picture_files(photographs, tmp_path / "stimuli")
    assert [path.stem for path in kept] == ["000000000000", "000000000003"]

    Split("some", "test", {"some": [3, 7]}, [11]).save(tmp_path / "split.json")
    known = np.arange(5, dtype=np.float16)[:, None, None] * np.ones((1, 4, 3), np.float16)
    save_embeddings(tmp_path / "embeddings", table["image_id"].to_numpy(), known, {})
    monkeypatch.setattr(sources, "load_encoder", lambda backbone, device: Encoder())
    monkeypatch.setattr(sources, "load_autoencoder", lambda backbone, device: autoencoder)
    record = {"stimuli": tmp_path / "stimuli", "split": tmp_path / "split.json", "max_pixels": 64 * 64,
              "encoder": "demo_clip", "autoencoder": "demo_vae", "embeddings": tmp_path / "embeddings"}  # fmt: skip
    pictures = sources.open_pictures(record, tmp_path, tmp_path, CPU, load_registry())
    _, tokens, _ = pictures.batch(np.random.default_rng(0), 40)
    assert set(tokens[:, 0, 0].tolist()) == {0.0, 2.0}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"offset_nois": 0.1}, "offset_nois' is unknown"),
        ({"timesteps": "early"}, "timesteps"),
        ({"training": {"steps": 3, "warmup_steps": 1, "bach": 3}}, r"recipe.yaml: .*'training\.bach'"),
        ({"training": {"warmup_steps": 1, "batch": 3}}, "'training.steps' is missing"),
    ],
)
def test_a_wrong_recipe_names_its_key(tmp_path, change, named):
    record = yaml.safe_load((RECIPES / "unclip_demo.yaml").read_text()) | change
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(record))
    with pytest.raises(UserError, match=named):
        unclip.read_recipe(tmp_path / "recipe.yaml")


def test_the_command_trains_the_demo_from_its_text_to_image_network(tmp_path, monkeypatch):
    """The whole path in small: bank, tokens, initialisation, two steps, folder, card, and measuring once more."""
    for network in ("clip", "vae"):
        (tmp_path / network).symlink_to(DEMO / network)
    record = yaml.safe_load((RECIPES / "unclip_demo.yaml").read_text())
    record["pictures"]["drawn_scenes"] = {"scenes": 12, "cropped": 4, "every": 2}
    record["start"] = {"network": "demo_text2img"}
    record["training"] |= {"steps": 2, "batch": 2}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(record))
    measured = []
    monkeypatch.setattr(
        unclip, "measure", lambda folder, siblings, stream, device: measured.append(stream) or {"psnr_db": stream}
    )
    output = tmp_path / "unclip"
    paths = {"--recipe": tmp_path / "recipe.yaml", "--output": output, "--work": tmp_path / "work"}
    train.main(["unclip", *(str(part) for pair in paths.items() for part in pair)])
    card = json.loads((output / "card.json").read_text())
    assert card["fidelity"] == {"psnr_db": 7003} and measured == [7002, 7003]
    assert card["recipe"]["training"]["steps"] == 2 and "7003" in (output / "CARD.md").read_text()
    stored = load_file(output / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert UNet2DConditionModel.from_pretrained(output / "unet").config.cross_attention_dim == 96
    monkeypatch.setattr(unclip, "measure", lambda *_: {"psnr_db": 11.0})
    before = (output / "card.json").read_bytes()
    measure.main(["--development", str(output)])
    assert (output / "card.json").read_bytes() == before
    measure.main([str(output), "--note", "once", "--note", "and twice"])
    rewritten = json.loads((output / "card.json").read_text())
    assert rewritten["fidelity"] == {"psnr_db": 11.0} and rewritten["notes"] == ["once", "and twice"]
    assert rewritten["recipe"] == card["recipe"]


def test_built_network_is_the_committed_one():
    recipe = unclip.read_recipe(RECIPES / "unclip_demo.yaml")
    with torch.device("meta"):
        unet = build(recipe["start"]["build"], (8, 16, 16), 96)
    stored = UNet2DConditionModel.from_pretrained(DEMO / "unclip" / "unet")
    assert {k: v.shape for k, v in unet.state_dict().items()} == {k: v.shape for k, v in stored.state_dict().items()}
