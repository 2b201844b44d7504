"""Seconds per generated picture against batch size, beside what the arithmetic alone would cost.

    PYTHONPATH=scripts python tests/benchmarks/generate.py --generator demo_unclip --autoencoder demo_vae

The arithmetic is counted by torch's FlopCounterMode over one picture (all steps, both branches of guidance, and the
autoencoder), and divided by the rate of a large matrix product on the same device and number type.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.generators import load_generator
from fmri2img.backbones.registry import REPOSITORY, load_registry
from fmri2img.generation.unclip import UnclipGenerator


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
    parser.add_argument("--generator", default="demo_unclip")
    parser.add_argument("--autoencoder", default="demo_vae")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 32, 64])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    registry = load_registry(options.registry)
    generator = load_generator(registry[options.generator])
    unclip = UnclipGenerator(generator, load_autoencoder(registry[options.autoencoder]))
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
    print(f"{options.generator} on {where}, {options.steps} steps")
    print(f"{flops / 1e9:.2f} GFLOP a picture; matrix product {rate / 1e9:.0f} GFLOP/s -> {flops / rate:.4f} s at best")
    print("batch  s/picture  share of the matrix rate")
    for n in options.batches:
        seconds = min(draw(n) for _ in range(2)) / n
        print(f"{n:5d}  {seconds:9.4f}  {flops / rate / seconds:24.2f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
