"""How a recipe is trained: in one stage or two, each of them a task of the library's training engine.

A stage's folder under the work folder holds its network (network.safetensors), with the engine's record and log. It is
made once and stays, so that an interrupted command resumes when it is started again.
"""

import contextlib
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from fmri2img.errors import UserError
from fmri2img.training import checkpoint, distributed
from fmri2img.training.configuration import TrainingConfig
from fmri2img.training.loop import train
from fmri2img.training.sampler import share
from fmri2img.training.task import task_class

WEIGHTS = "network.safetensors"


class Losses(nn.Module):
    """A network with the loss of a batch, as the engine calls it."""

    def __init__(self, network: nn.Module, losses) -> None:
        super().__init__()
        self.network, self._losses = network, losses

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return self._losses(self.network, **inputs)


class RecipeTask(ABC):
    """What all stages share (the interface: fmri2img.training.task.Task).

    settings: the recipe's keys without its sections of training, and where things are. A stage says what a batch is
    (`draw`), what the network loses on it (`losses`) and of which frozen networks it depends (`sources`).
    """

    def __init__(self, settings: dict[str, Any], training: TrainingConfig, network: nn.Module) -> None:
        self.settings, self.training, self.network = settings, training, network
        self.module = Losses(network, self.losses)

    @abstractmethod
    def draw(
        self, rng: np.random.Generator, noise: torch.Generator, batch: int, rows: slice, device: torch.device
    ) -> dict[str, Tensor]:
        """Samples `rows` of a batch of `batch` samples, on `device`; what is random in it comes from rng and noise."""

    @abstractmethod
    def losses(self, network: nn.Module, **inputs: Tensor) -> dict[str, Tensor]:
        """Loss terms of what `draw` returned."""

    def sources(self) -> dict[str, str]:
        return {}

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        return [{"params": trained, "weight_decay": weight_decay, "betas": tuple(self.settings["betas"])}]

    def steps_per_epoch(self, batch: int) -> int:
        """One: batches are drawn at random, so there are no passes over the pictures to count."""
        return 1

    def inputs(self, step: int, epoch: int, batch: int, rank: int, world: int, device: torch.device) -> dict:
        seed = self.training.seed
        noise = torch.Generator(device).manual_seed(seed * 1_000_003 + step)
        return self.draw(np.random.default_rng((seed, step)), noise, batch, share(batch, rank, world), device)

    def validate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Nothing: networks are measured on unseen scenes when they are complete (measure.py)."""
        return {}

    def save(self, directory: Path, metadata: dict[str, Any]) -> None:
        save_model(self.network, str(directory / WEIGHTS))


def engine_configuration(section: dict[str, Any]) -> dict[str, Any]:
    """The engine's `training` for a recipe's section, in which `steps` and `warmup_steps` stand for epochs.

    Raises UserError naming a key that is missing, unknown or wrong.
    """
    settings = dict(section)
    for key, name in (("steps", "epochs"), ("warmup_steps", "warmup_epochs")):
        if key not in settings:
            raise UserError(f"training configuration: key 'training.{key}' is missing; add it to the recipe")
        settings[name] = settings.pop(key)
    return TrainingConfig.read(settings, "recipe", "training").to_dict()


def train_stage(task: str, settings: dict[str, Any], section: dict[str, Any], output: Path) -> float:
    """Train a stage unless its folder `output` exists. Returns the seconds that its training took.

    task: "module:Class"; section: the recipe's section of training. Raises UserError where `output` or its checkpoint
    is of another recipe.
    """
    config = {"task": task, "settings": settings, "training": engine_configuration(section)}
    record = output / "training.json"
    if record.exists():
        training = TrainingConfig.read(config["training"], "recipe", "training")
        config["sources"] = task_class(task)(settings, training).sources()
        changed = checkpoint.changed_keys(json.loads(record.read_text())["config"], config)
        if changed:
            raise UserError(
                f"{output}: holds a network of another recipe ({', '.join(changed)} changed); restore the recipe to "
                "use it, or delete the folder to start afresh"
            )
    else:
        train(config, output, output.with_name(f"{output.name}.unfinished"))
    return json.loads(record.read_text())["seconds"]


def settings_of(recipe: dict[str, Any], **where) -> dict[str, Any]:
    """A stage's settings: the recipe without its sections of training, and `where`."""
    return {key: value for key, value in recipe.items() if not key.endswith("training")} | where


def load_stage(network: nn.Module, output: Path) -> nn.Module:
    """`network` with the weights of a stage's folder."""
    load_model(network, output / WEIGHTS)
    return network


def working_device() -> torch.device:
    """This process's device, as the engine chooses it."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


@contextlib.contextmanager
def main_process_first() -> Iterator[None]:
    """The main process makes the files that the others then find."""
    if distributed.rank():
        distributed.barrier()
    yield
    if not distributed.rank():
        distributed.barrier()


def weights_digest(weights: Iterable[Tensor]) -> str:
    """Hash of weights at the precision they are stored in: 12 hex digits."""
    parts = (weight.detach().cpu().half().numpy().tobytes() for weight in weights)
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]
