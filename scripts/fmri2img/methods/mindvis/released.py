"""Import of the checkpoints that the authors of MinD-Vis published (`finetuned.pth`).

A checkpoint holds the whole model: `cond_stage_model` (encoder and the map to the context), `model.diffusion_model`
(the UNet and the map to the time embedding, by CompVis's names), `first_stage_model` (the autoencoder) and the tables
of the noise schedule. All of these must be there, and nothing else. What is trained is kept; the frozen weights must be
those of the registered generator and autoencoder, with which the decoder is used from then on.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fmri2img.backbones.autoencoders import SGM_PREFIX as AUTOENCODER
from fmri2img.backbones.autoencoders import load_autoencoder, vq_from_sgm
from fmri2img.backbones.generators import SGM_PREFIX as UNET
from fmri2img.backbones.generators import load_generator, unet_from_sgm
from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError
from fmri2img.methods.mindvis.network import DoublyConditioned, trained_in_unet
from fmri2img.methods.mindvis.settings import ModelConfig
from fmri2img.networks.published import DIFFUSION_TABLES, check_keys, numbered, read_published

WHAT = "MinD-Vis"
HEADS = 16  # of the encoder, in all published configurations; no weight tells
ENCODER, TIME = "cond_stage_model.mae.", "time_embed_condtion."
TOLERANCE = 1e-4  # of frozen weights and of the schedule: files may hold rounded ones


class Released(NamedTuple):
    """weights: as `DoublyConditioned.trained` names them; config: of the encoder; patches: of a voxel pattern."""

    weights: dict[str, Tensor]
    config: ModelConfig
    patches: int
    time_condition: bool


def import_checkpoint(path: str | Path, generator: Backbone, autoencoder: Backbone) -> Released:
    """The trained weights of a published checkpoint, float32, after every key has been accounted for.

    Raises UserError naming the file and the keys that are missing, unexpected or of another shape, and for frozen
    weights or a noise schedule that are not those of the registered networks.
    """
    state = read_published(Path(path), WHAT, left_out=("config.", "__main__."))
    known = ("cond_stage_model.", UNET, AUTOENCODER)
    check_keys(
        path,
        WHAT,
        {name: tensor for name, tensor in state.items() if not name.startswith(known)},
        {table: tuple(state["betas"].shape) if "betas" in state else (1000,) for table in DIFFUSION_TABLES},
    )
    config, patches = _sizes(path, state)
    source = load_generator(generator, "cpu")
    unet, times = {}, {}
    for name, tensor in state.items():
        if name.startswith(UNET + TIME):
            times[name.removeprefix(UNET)] = tensor
        elif name.startswith(UNET):
            unet[name] = tensor
    here = unet_from_sgm(unet, generator.record["unet"], str(path)).state_dict()
    _check_schedule(path, state["betas"], source.scheduler)
    _check_frozen(path, here, source.unet.state_dict(), generator)
    first = {name: tensor for name, tensor in state.items() if name.startswith(AUTOENCODER)}
    there = vq_from_sgm(first, autoencoder.record["vq"], str(path)).state_dict()
    _check_frozen(path, there, load_autoencoder(autoencoder, "cpu").vae.state_dict(), autoencoder)

    with torch.device("meta"):
        expected = DoublyConditioned(config.encoder, patches, source, bool(times)).trained()
    found = {name: tensor for name, tensor in state.items() if name.startswith("cond_stage_model.")} | times
    own = {name: tuple(tensor.shape) for name, tensor in expected.items() if not name.startswith("unet.")}
    check_keys(path, WHAT, found, own)
    found |= {f"unet.{name}": tensor for name, tensor in here.items() if trained_in_unet(name)}
    return Released({name: tensor.float() for name, tensor in found.items()}, config, patches, bool(times))


def _sizes(path: str | Path, state: dict[str, Tensor]) -> tuple[ModelConfig, int]:
    """Sizes of the encoder that the shapes of its weights imply."""
    try:
        width, _, patch = state[ENCODER + "patch_embed.proj.weight"].shape
        hidden = state[ENCODER + "blocks.0.mlp.fc1.weight"].shape[0]
        patches = state[ENCODER + "pos_embed"].shape[1] - 1
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"{path}: not the weights of a {WHAT} checkpoint: {error} of the encoder is missing or misshapen; download "
            "finetuned.pth again"
        ) from None
    depth = numbered(state, r"cond_stage_model\.mae\.blocks\.(\d+)\.")
    record: dict[str, Any] = {"patch": patch, "width": width, "depth": depth, "heads": HEADS}
    return ModelConfig.read(record | {"mlp_ratio": hidden / width}, str(path), "model"), patches


def _check_frozen(path, here: dict[str, Tensor], there: dict[str, Tensor], backbone: Backbone) -> None:
    """Raise UserError where a frozen weight differs from the registered network's."""
    for name, tensor in there.items():
        if not trained_in_unet(name) and not torch.allclose(here[name].float(), tensor.float(), atol=TOLERANCE):
            raise UserError(
                f"{path}: its frozen weight {name} differs from that of {backbone.name}; name the network that it was "
                "trained with in config/backbones.yaml"
            )


def _check_schedule(path, betas: Tensor, scheduler) -> None:
    """Raise UserError where the noise schedule is not the registered generator's."""
    expected = scheduler.betas
    if betas.shape != expected.shape or not torch.allclose(betas.float(), expected.float(), atol=TOLERANCE):
        raise UserError(f"{path}: its noise schedule is not that of the registered generator; correct its `scheduler`")
