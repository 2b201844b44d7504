"""The processes that train together: Accelerate on a CPU, a GPU, several of either, or under DeepSpeed."""

import contextlib
import json
import os
import random
from datetime import timedelta

import numpy as np
import torch
from accelerate import Accelerator, DeepSpeedPlugin, InitProcessGroupKwargs
from accelerate.utils import DistributedDataParallelKwargs

from fmri2img.errors import UserError
from fmri2img.paths import REPOSITORY
from fmri2img.training.configuration import TrainingConfig
from fmri2img.training.sampler import seed_of

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
PATIENCE = timedelta(hours=1)  # the others wait while one process writes a large checkpoint to a slow disk


def accelerator_for(config: TrainingConfig) -> Accelerator:
    """Join the other processes (torchrun's variables) and choose the device. Raises UserError.

    The batch must be a multiple of the number of processes.
    """
    gpu = torch.cuda.is_available()
    if config.precision == "fp16" and not gpu:
        raise UserError("training.precision = 'fp16' needs a GPU; use bf16 or fp32")
    if config.deepspeed:
        return _with_deepspeed(config, gpu)
    group = [InitProcessGroupKwargs(backend="nccl" if gpu else "gloo", timeout=PATIENCE)]
    data_parallel = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    return Accelerator(
        cpu=not gpu,
        mixed_precision="fp16" if config.precision == "fp16" else "no",  # for its loss scale; see autocast below
        gradient_accumulation_steps=config.accumulation,
        kwargs_handlers=[data_parallel, *(group if "LOCAL_RANK" in os.environ else [])],
    )


def _with_deepspeed(config: TrainingConfig, gpu: bool) -> Accelerator:
    if "LOCAL_RANK" not in os.environ:
        raise UserError("training.deepspeed needs torchrun; start `torchrun scripts/train.py`, even for one process")
    path = REPOSITORY / config.deepspeed
    try:
        settings = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"training.deepspeed: {path} does not exist") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error
    if settings.get("zero_optimization", {}).get("stage") not in (1, 2):
        raise UserError(f"{path}: zero_optimization.stage must be 1 or 2 (each process keeps all the weights)")
    world = int(os.environ["WORLD_SIZE"])
    config.check_processes(world)
    # Weights stay fp32 and autocast computes in bf16, as without DeepSpeed; DeepSpeed's own bf16 mode would cast the
    # weights, and with them the loss terms that need fp32.
    settings |= {
        "train_micro_batch_size_per_gpu": config.batch // (config.accumulation * world),
        "gradient_accumulation_steps": config.accumulation,
        "gradient_clipping": config.clip,
        "bf16": {"enabled": False},
        "fp16": {"enabled": False},
        "torch_autocast": {"enabled": config.precision == "bf16", "dtype": "bfloat16"},
    }
    if not gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
        settings["zero_optimization"].get("offload_optimizer", {})["pin_memory"] = False
    # Accelerate's own `cpu=True` (or ACCELERATE_USE_CPU) would silently use DistributedDataParallel instead.
    return Accelerator(
        deepspeed_plugin=DeepSpeedPlugin(hf_ds_config=settings),
        mixed_precision="no",
        gradient_accumulation_steps=config.accumulation,
        kwargs_handlers=[InitProcessGroupKwargs(backend="nccl" if gpu else "gloo", timeout=PATIENCE)],
    )


def autocast(config: TrainingConfig, device: torch.device) -> contextlib.AbstractContextManager:
    """Matrix products in the configured precision."""
    if config.precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, AUTOCAST[config.precision])


def seed_all(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (all devices), which a task uses for initial weights."""
    seed = seed_of(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
