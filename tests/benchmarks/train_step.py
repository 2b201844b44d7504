"""Time and memory of one optimiser step of MindEye2, beside the least that the device could take.

    PYTHONPATH=scripts python tests/benchmarks/train_step.py --preset published --batch 24

The roofline is of one step: forward and backward pass take the longer of their FLOPs at the device's rate for square
matrix products and of reading the weights twice and writing the gradient; then the optimiser reads weights, gradient
and two moments and writes back all but the gradient. Rate and bandwidth are measured here, in the same run. Matrix
products of autocast also cast the weights (4 bytes read, 2 written per weight). Activations are not counted.
"""

import argparse
import json
import resource
import time

import numpy as np
import torch
from benchmark_table import at_best
from torch.utils.flop_counter import FlopCounterMode

from fmri2img.methods.mindeye2.losses import Objective
from fmri2img.methods.mindeye2.network import MindEye2
from fmri2img.methods.mindeye2.settings import LossConfig, ModelConfig
from fmri2img.training.backends import backend
from fmri2img.training.configuration import TrainingConfig
from fmri2img.training.dropout import masks
from fmri2img.training.processes import accelerator_for, autocast
from fmri2img.training.task import total_loss

PUBLISHED = {"backbone": "as_released", "tokens": 256, "token_width": 1664, "prior": {}}
DEMO_PRIOR = {"depth": 1, "heads": 2, "head_width": 32, "feedforward": 1, "rotary_width": 16}
DEMO_LOW_LEVEL = {"latent_channels": 8, "latent_side": 16, "maps_width": 96, "seed_channels": 32, "channels": [32] * 3}
PRESETS = {
    "demo": (600, {"hidden": 192, "backbone": "residual_mlp", "tokens": 64, "token_width": 96,
                   "prior": DEMO_PRIOR, "low_level": DEMO_LOW_LEVEL}),
    "light": (15724, {"hidden": 1024, **PUBLISHED}),
    "published": (15724, {"hidden": 4096, "low_level": {}, **PUBLISHED}),
}  # fmt: skip


def random_batch(config: ModelConfig, voxels: int, batch: int, device: torch.device) -> dict:
    """A batch as losses.Objective takes it after the MixCo phase, of random numbers, less the masks of dropout."""
    tokens = (batch, config.tokens, config.token_width)
    inputs = {
        "betas": {"subj01": torch.randn(batch, voxels, device=device)},
        "tokens": torch.randn(tokens, device=device),
        "temperature": torch.tensor(0.006, device=device),
    }
    if config.prior:
        inputs["t"] = torch.randint(config.prior.timesteps, (batch,), device=device)
        inputs["noise"] = torch.randn(tokens, device=device)
        inputs["keep_brain"] = inputs["keep_image"] = torch.rand(batch, device=device) > 0.2
    if config.low_level:
        low = config.low_level
        maps = (batch, low.positions, low.maps_width)
        inputs["latents"] = torch.randn(batch, low.latent_channels, low.latent_side, low.latent_side, device=device)
        inputs["maps"], inputs["augmented_maps"] = torch.randn(maps, device=device), torch.randn(maps, device=device)
    return inputs


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def fastest(run, device: torch.device, repeats: int = 10) -> float:
    """Seconds of the fastest of `repeats` calls, after one more."""
    run()
    seconds = []
    for _ in range(repeats):
        synchronise(device)
        start = time.perf_counter()
        run()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def device_rates(precision: str, device: torch.device) -> tuple[float, float]:
    """Measured FLOPs per second of a matrix product in `precision`, and bytes per second of a copy."""
    side = 8192 if device.type == "cuda" else 1024
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    flops = 2 * side**3 / fastest(lambda: a @ b, device)
    source = torch.zeros(2**28 if device.type == "cuda" else 2**26, device=device)
    target = torch.empty_like(source)
    return flops, 2 * source.nbytes / fastest(lambda: target.copy_(source), device)


def roofline(parameters: int, flops: float, precision: str, rate: float, bandwidth: float) -> dict[str, float]:
    """Least seconds of the two halves of a step."""
    weight = 4 if precision == "fp32" else 2
    cast = 0 if precision == "fp32" else 4 + 2
    passes = parameters * (2 * weight + 4 + cast)
    moments = parameters * 7 * 4
    return {
        "passes_s": max(flops / rate, passes / bandwidth),
        "optimiser_s": moments / bandwidth,
        "bytes": passes + moments,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="demo")
    parser.add_argument("--model", type=json.loads, default={}, help="overrides, e.g. '{\"hidden\": 512}'")
    parser.add_argument("--voxels", type=int)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--precision", choices=("bf16", "fp16", "fp32"), help="demo: fp32, others: bf16")
    parser.add_argument("--optimiser", choices=("adamw", "adamw8bit"), default="adamw")
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations of the prior")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()

    voxels, model = PRESETS[arguments.preset]
    voxels = arguments.voxels or voxels
    precision = arguments.precision or ("fp32" if arguments.preset == "demo" else "bf16")
    config = ModelConfig.read(model | arguments.model)
    training = TrainingConfig.read(
        {"epochs": 1, "batch": arguments.batch, "precision": precision, "optimiser": arguments.optimiser,
         "clip": arguments.clip, "compile": arguments.compile}
    )  # fmt: skip
    accelerator = accelerator_for(training)
    device = accelerator.device
    rate, bandwidth = device_rates(precision, device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    torch.manual_seed(0)
    with device:
        module = Objective(MindEye2(config, {"subj01": voxels}), LossConfig())
    if module.model.prior is not None:
        module.model.prior.checkpointing = arguments.checkpointing
    parameters = sum(parameter.numel() for parameter in module.parameters())
    groups = [{"params": [parameter for parameter in module.parameters() if parameter.requires_grad]}]
    trained = backend(accelerator, training, module.train(), groups)
    inputs = random_batch(config, voxels, arguments.batch, device)
    inputs["kept"] = masks(module, arguments.batch, np.arange(arguments.batch), device, 0)

    def passes() -> None:
        with autocast(training, device):
            terms = trained.wrapped(inputs)
        trained.backward(total_loss(terms), last=True)

    def optimise() -> None:
        trained.step(trained.gradient_norm().item())

    with FlopCounterMode(display=False) as counter:
        passes()
    optimise()
    flops = counter.get_total_flops()
    times = {"passes": [], "optimiser": []}
    for _ in range(arguments.steps):
        for name, part in (("passes", passes), ("optimiser", optimise)):
            synchronise(device)
            start = time.perf_counter()
            part()
            synchronise(device)
            times[name].append(time.perf_counter() - start)
    # The fastest, as the device's rates are: on a busy machine the others tell of the other work.
    step = np.min(np.sum(list(times.values()), axis=0))
    least = roofline(parameters, flops, precision, rate, bandwidth)
    bound = least["passes_s"] + least["optimiser_s"]
    if device.type == "cuda":
        name, peak = torch.cuda.get_device_name(), torch.cuda.max_memory_allocated() / 2**30
    else:
        name = f"CPU, {torch.get_num_threads()} threads"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name}: matrix products {rate / 1e12:.3f} TFLOP/s ({precision}), copy {bandwidth / 1e9:.1f} GB/s")
    print(f"{parameters / 1e6:.1f} M parameters, batch {arguments.batch}: {flops / 1e9:.1f} GFLOP and "
          f"{least['bytes'] / 1e9:.2f} GB a step")  # fmt: skip
    for part in times:
        measured = np.min(times[part])
        print(f"{part:>9} {1e3 * measured:9.2f} ms, roofline {1e3 * least[f'{part}_s']:9.2f} ms")
    print(f"{'step':>9} {1e3 * step:9.2f} ms, roofline {1e3 * bound:9.2f} ms: {step / bound:.2f} times the roofline")
    print(f"{'peak':>9} {peak:9.2f} GB")
    at_best(f"optimiser step of MindEye2, {arguments.preset}, batch {arguments.batch}, {precision}", step, bound)


if __name__ == "__main__":
    main()
