"""Compute components: encode pictures, noise and denoise them, and record latents and activations on the way."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from fmri2img.backbones.prompts import Prompt
from fmri2img.generation.img2img import Refiner
from fmri2img.generation.noise import ANALYSIS, image_noise
from fmri2img.methods.takagi.components import Component
from fmri2img.methods.takagi.settings import EncodingSettings


class Tracer:
    """Runs image-to-image denoising of pictures and records what the encoding analysis needs.

    refiner: the frozen networks; negative: the condition of the unconditional branch, a single row.
    """

    def __init__(self, refiner: Refiner, negative: Prompt, settings: EncodingSettings, seed: int) -> None:
        self.refiner, self.negative, self.settings = refiner, negative, settings
        # One draw for all pictures: see components.py.
        self.noise = image_noise(seed, 0, refiner.generator.latent_shape, stream=ANALYSIS)[0]
        unet = refiner.generator.unet
        self.layers = {
            **{f"down {k}": block for k, block in enumerate(unet.down_blocks, start=1)},
            "middle": unet.mid_block,
            **{f"up {k}": block for k, block in enumerate(unet.up_blocks, start=1)},
        }

    @property
    def members(self) -> list[Component]:
        """All components, in the order of the analysis: z, c, zc by noise, zc by step, layers by step."""
        settings, traced = self.settings, self.settings.traced_noise
        steps = self.settings.steps_at(traced)
        return [
            Component("z", "z"),
            Component("c", "c"),
            *(
                Component(zc(noise, settings.steps_at(noise)), "zc", noise, settings.steps_at(noise),
                          settings.steps_at(noise))
                for noise in settings.noise_levels
            ),
            *(
                Component(zc(traced, step), "zc", traced, step, steps)
                for step in settings.traced_at
                if step < steps
            ),
            *(
                Component(activation(layer, step), "layer", traced, step, steps, layer)
                for layer in self.layers
                for step in settings.traced_at
            ),
        ]  # fmt: skip

    @torch.inference_mode()
    def trace(self, pictures: np.ndarray, z: np.ndarray, states: np.ndarray) -> dict[str, np.ndarray]:
        """Values (n, width) of all components of pictures uint8 (n, h, w, 3).

        z: (n, ...), the latents that the decoder's regression targets; states: (n, positions, width), the texts.
        """
        n = len(pictures)
        found = {"z": z.reshape(n, -1), "c": states.reshape(n, -1)}
        latents = self.refiner.encode(pictures)
        prompt = Prompt(np.asarray(states, np.float32))
        for noise in self.settings.noise_levels:
            steps = self.settings.steps_at(noise)
            kept = self.settings.traced_at if noise == self.settings.traced_noise else []

            def watch(step: int, at: torch.Tensor, noise=noise, last=steps, kept=kept) -> None:
                if step == last or step in kept:
                    found[zc(noise, step)] = at.flatten(1).cpu().numpy()

            with self._recording(found, kept):
                self.refiner.denoise(
                    latents,
                    self.noise.expand_as(latents),
                    prompt,
                    self.negative,
                    self.settings.steps,
                    self.settings.steps - steps,
                    self.settings.guidance,
                    watch,
                )
        return found

    @contextmanager
    def _recording(self, found: dict[str, np.ndarray], steps: list[int]) -> Iterator[None]:
        """Record activations of the conditional branch after the first, second, ... run of each block, in `steps`."""
        ran = dict.fromkeys(self.layers, 0)

        def hook_of(layer: str):
            def hook(module, inputs, output) -> None:
                ran[layer] += 1
                if ran[layer] in steps:
                    maps = output[0] if isinstance(output, tuple) else output
                    if self.settings.guidance != 1:
                        maps = maps.chunk(2)[1]
                    side = min(self.settings.grid, maps.shape[-1])
                    pooled = adaptive_avg_pool2d(maps.float(), side).flatten(1)
                    found[activation(layer, ran[layer])] = pooled.cpu().numpy()

            return hook

        handles = [block.register_forward_hook(hook_of(layer)) for layer, block in self.layers.items() if steps]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def zc(noise: float, step: int) -> str:
    return f"zc_noise{noise:g}_step{step}"


def activation(layer: str, step: int) -> str:
    return f"{layer.replace(' ', '')}_step{step}"
