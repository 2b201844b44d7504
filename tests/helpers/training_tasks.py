"""Small tasks for the tests of the training engine."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from fmri2img.training import distributed, sampler
from fmri2img.training.dropout import Dropout, masks
from fmri2img.training.sources import fingerprint

N_ROWS, WIDTH = 40, 6
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.68 GiB. Of it"


class Regression(nn.Module):
    """Linear regression with dropout, and a second term in fp32."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.first, self.dropout, self.last = nn.Linear(WIDTH, 16), Dropout("hidden", dropout, 16), nn.Linear(16, 2)

    def forward(self, inputs):
        out = self.last(nn.functional.gelu(self.dropout(self.first(inputs["x"]), inputs["kept"])))
        error = nn.functional.mse_loss(out.float(), inputs["y"])
        return {"mse": error * inputs["weight"], "size": 0.01 * out.float().abs().mean()}


class Contrast(nn.Module):
    """Each row is to be told from all other rows of the global batch."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.project = nn.Linear(WIDTH, 4)
        self.shared = shared

    def forward(self, inputs):
        ours = nn.functional.normalize(self.project(inputs["x"]), dim=-1)
        theirs = nn.functional.normalize(inputs["z"], dim=-1)
        if self.shared:  # every process computes the loss of the whole batch
            ours, theirs = distributed.gather(ours), distributed.gather(theirs)
            places = torch.arange(len(ours))
        else:  # each process has its own rows against all rows
            places = torch.arange(len(ours)) + distributed.rank() * len(ours)
            theirs = distributed.gather(theirs * self.project.bias.norm())
        return {"contrast": nn.functional.cross_entropy(ours @ theirs.T * 10, places)}


class Toy:
    """settings: kind regression | shared | own; dropout; noise; pause (s a batch); nan_at, signal_at,
    out_of_memory_at, killed_at: a batch."""

    def __init__(self, settings, training) -> None:
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(N_ROWS, WIDTH, generator=generator)
        self.z = torch.randn(N_ROWS, 4, generator=generator)
        self.streams = sampler.Streams([N_ROWS], training.seed)
        self.seed = training.seed
        self.settings = settings
        kind = settings.get("kind", "regression")
        dropout = settings.get("dropout", 0.0)
        self.module = Regression(dropout) if kind == "regression" else Contrast(kind == "shared")

    def sources(self):
        return {"rows": fingerprint({}, self.x.numpy())}

    def parameter_groups(self, weight_decay):
        named = list(self.module.named_parameters())
        return [
            {"params": [p for n, p in named if "bias" not in n], "weight_decay": weight_decay},
            {"params": [p for n, p in named if "bias" in n], "weight_decay": 0.0},
        ]

    def steps_per_epoch(self, batch):
        return N_ROWS // batch

    def inputs(self, step, epoch, batch, rank, world, device):
        time.sleep(self.settings.get("pause", 0))
        if step == self.settings.get("signal_at"):
            os.kill(os.getpid(), signal.SIGTERM)
        if step == self.settings.get("killed_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if step == self.settings.get("out_of_memory_at"):
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        rows = self.streams.rows(0, step * batch, batch)
        noise = torch.randn(batch, WIDTH, generator=sampler.generator("cpu", self.seed, step))
        here = sampler.share(batch, rank, world)
        x = (self.x[rows] + self.settings.get("noise", 0.1) * noise)[here]
        bad = step == self.settings.get("nan_at") and rank == world - 1
        weight = torch.tensor(float("nan") if bad else 1.0)
        kept = masks(self.module, batch, np.arange(batch)[here], device, self.seed, 1, step)
        z = self.z[rows][here].to(device)
        return {"x": x.to(device), "y": x[:, :2].sin().to(device), "z": z, "kept": kept, "weight": weight}

    def validate(self, module, device):
        assert not module.training
        return {"mean_weight": float(sum(p.mean() for p in module.parameters()))}

    def save(self, directory: Path, metadata) -> None:
        save_file({k: v.contiguous() for k, v in self.module.state_dict().items()}, directory / "model.safetensors")
        (directory / "metadata.json").write_text(json.dumps(metadata))
