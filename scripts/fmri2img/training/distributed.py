"""Rows of all processes in one tensor, with gradients, so that N processes compute the same loss as one."""

import torch
import torch.distributed
import torch.distributed.nn.functional
from torch import Tensor


def world() -> int:
    """Number of processes that train together; 1 without torchrun."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process, 0-based."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def gather(rows: Tensor) -> Tensor:
    """Concatenate `rows` (b, ...) of all processes in order of rank: (processes * b, ...); all must have equal shapes.

    The gradient of a row is the sum of the gradients that all processes' losses have with respect to it. The engine
    averages the gradients of parameters over processes; so if L_r is process r's loss, no matter which rows it uses,
    the training follows the gradient of mean_r L_r. Both usual forms are therefore correct: every process computes the
    same global loss, or each computes the loss of its own rows (mean over its rows) against all rows.
    """
    if world() == 1:
        return rows
    gathered = torch.cat(torch.distributed.nn.functional.all_gather(rows.contiguous()))
    if gathered.requires_grad:
        # torch receives gradients in buffers with the layout of those it sends. A dense but transposed gradient, as
        # from a loss over the rows and columns of a matrix, would arrive with its entries in the wrong positions.
        gathered.register_hook(lambda gradient: gradient.contiguous())
    return gathered


def mean(values: Tensor) -> Tensor:
    """Mean of `values` over all processes."""
    if world() > 1:
        values = values.clone()
        torch.distributed.all_reduce(values)
        values /= world()
    return values


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether any process has set the flag."""
    return bool(mean(torch.tensor(float(flag), device=device)) > 0)


def barrier() -> None:
    """Wait for all processes."""
    if world() > 1:
        torch.distributed.barrier()


def leave_group() -> None:
    """Leave the process group at the end of the work."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
