"""A training that takes as long as a test wants, and no time of the processor."""

import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from fmri2img.artifacts.recording import Recording
from fmri2img.training import sampler
from fmri2img.training.sources import fingerprint

STEPS, WIDTH = 5, 6


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Linear(WIDTH, 1)

    def forward(self, inputs):
        return {"mse": nn.functional.mse_loss(self.weights(inputs["x"]), inputs["y"]) * inputs["weight"]}


class SleeperTask:
    """Linear regression on random numbers; 5 steps an epoch."""

    def __init__(self, settings, training) -> None:
        self.settings, self.seed = settings, training.seed
        (path,) = settings["recordings"].values()
        self.recording = Recording.open(path)
        self.held = np.ones(settings["memory_mb"] * 2**17)
        self.module = Regression()

    def sources(self):
        return {"recording": fingerprint(self.recording.metadata, self.recording.betas)}

    def parameter_groups(self, weight_decay):
        return [{"params": list(self.module.parameters()), "weight_decay": weight_decay}]

    def steps_per_epoch(self, batch):
        return STEPS

    def inputs(self, step, epoch, batch, rank, world, device):
        time.sleep(self.settings["pause"])
        x = torch.randn(batch, WIDTH, generator=sampler.generator("cpu", self.seed, step))
        x = x[sampler.share(batch, rank, world)].to(device)
        weight = torch.tensor(float("nan") if step == self.settings["nan_at"] else 1.0, device=device)
        return {"x": x, "y": x.sum(dim=1, keepdim=True), "weight": weight}

    def validate(self, module, device):
        return {}

    def save(self, directory: Path, metadata) -> None:
        weights = {name: value.contiguous() for name, value in self.module.state_dict().items()}
        save_file(weights, directory / "model.safetensors")
        voxels = {subject: self.recording.betas.shape[1] for subject in self.settings["recordings"]}
        made = {"initial": None, "sessions": self.settings["sessions"], "trials": 1, "images": 1, "held_out_images": 0}
        (directory / "config.json").write_text(json.dumps({"model": {}, "voxels": voxels, "metadata": made}))
