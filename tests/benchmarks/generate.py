"""Seconds per generated picture against batch size, beside what the arithmetic alone would cost.

    PYTHONPATH=scripts python tests/benchmarks/generate.py

On a GPU this is SDXL unCLIP at its published size and sampling with random weights, which cost what trained ones cost;
elsewhere the demo's generator with the demo's. `--random` builds any entry with a `unet` section that way, unfetched.

The arithmetic is counted by torch's FlopCounterMode over one picture (all steps, both branches of guidance, and the
autoencoder), and divided by the rate of a large matrix product on the same device and number type.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch
from benchmark_table import at_best
from torch.utils.flop_counter import FlopCounterMode

from fmri2img.backbones.autoencoders import Autoencoder, load_autoencoder
from fmri2img.backbones.generators import Generator, load_generator, scheduler_from_config
from fmri2img.backbones.pixels import placement
from fmri2img.backbones.registry import REPOSITORY, Backbone, load_registry
from fmri2img.generation.unclip import UnclipGenerator

SDXL_VAE = {
    "latent_channels": 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "scaling_factor": 0.13025,
}


def random_generator(backbone: Backbone) -> Generator:
    """The registered network with random weights, built on the device in the registered number type."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    record, (device, dtype) = backbone.record, placement(backbone)
    torch.set_default_dtype(dtype)
    with torch.device(device):
        unet = UNet2DConditionModel(**record["unet"]).eval().requires_grad_(False)
    torch.set_default_dtype(torch.float32)
    initial = record.get("initial_noise", {"extra": False, "offset": 0.0})
    return Generator(
        name=f"{backbone.name} (random weights)",
        revision="none",
        unet=unet,
        scheduler=scheduler_from_config(record["scheduler"]),
        size_conditioning=tuple(record["size_conditioning"]),
        decode=(record["decode"]["scale"], record["decode"]["offset"]),
        image_size=record["image_size"],
        unconditional=record["unconditional"],
        timesteps=record["timesteps"],
        extra_noise=initial["extra"],
        offset_noise=initial["offset"],
    )


def random_autoencoder(device: torch.device) -> Autoencoder:
    """SDXL's autoencoder with random weights, float32 as it is used."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    with torch.device(device):
        return Autoencoder(AutoencoderKL(**SDXL_VAE), device)


def matrix_rate(device: torch.device, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """Measured operations per second of a product of two 2048 x 2048 matrices (8192 on CUDA)."""
    side = 8192 if device.type == "cuda" else 2048
    a = torch.randn(side, side, device=device).to(dtype)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize()
        count += 1
    return 2 * side**3 * count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--registry", type=Path, default=REPOSITORY / "config" / "backbones.yaml")
    large = torch.cuda.is_available()
    parser.add_argument("--generator", default="sdxl_unclip" if large else "demo_unclip")
    parser.add_argument("--autoencoder", default="demo_vae", help="ignored with --random, which builds SDXL's")
    parser.add_argument("--random", action=argparse.BooleanOptionalAction, default=large, help="random weights")
    parser.add_argument("--steps", type=int, default=38 if large else 12)
    parser.add_argument("--guidance", type=float, default=5.0 if large else 2.0)
    parser.add_argument("--tokens", type=int, default=256 if large else 64)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8] if large else [1, 4, 16, 32, 64])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    registry = load_registry(options.registry)
    if options.random:
        generator = random_generator(registry[options.generator])
        autoencoder = random_autoencoder(generator.device)
    else:
        generator = load_generator(registry[options.generator])
        autoencoder = load_autoencoder(registry[options.autoencoder])
    unclip = UnclipGenerator(generator, autoencoder)
    width = generator.unet.config.cross_attention_dim
    tokens = np.random.default_rng(0).normal(size=(max(options.batches), options.tokens, width)).astype(np.float16)
    ids = np.arange(len(tokens))

    def draw(n: int) -> float:
        began = time.perf_counter()
        unclip.generate(tokens[:n], ids[:n], 0, options.steps, options.guidance, batch=n)
        return time.perf_counter() - began

    with FlopCounterMode(display=False) as counter:
        draw(1)
    flops, rate = counter.get_total_flops(), matrix_rate(generator.device, generator.dtype)
    where = f"{generator.device} ({generator.dtype}), {options.threads} threads"
    print(f"{generator.name} on {where}, {options.steps} steps, guidance {options.guidance}")
    print(f"{flops / 1e9:.2f} GFLOP a picture; matrix product {rate / 1e9:.0f} GFLOP/s -> {flops / rate:.4f} s at best")
    print("batch  s/picture  times the best")
    for n in options.batches:
        seconds = min(draw(n) for _ in range(2)) / n
        print(f"{n:5d}  {seconds:9.4f}  {seconds / (flops / rate):14.2f}")
        at_best(f"a picture of {generator.name}, {n} at a time", seconds, flops / rate)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    if generator.device.type == "cuda":
        print(f"peak GPU memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
