"""Files of torch tensors: safetensors, and checkpoints of torch.save, of which no code is executed."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from fmri2img.archives import check_expansion
from fmri2img.errors import UserError
from fmri2img.reading import PICKLED, readable


def read_tensors(path: str | Path, remedy: str = "") -> dict[str, Tensor]:
    """Name -> torch tensor of a safetensors file. Raises UserError when it is missing or damaged."""
    with readable(path, "a complete safetensors file", remedy):
        return load_file(path)


def read_checkpoint(path: str | Path, remedy: str, allowed: tuple = (), left_out: tuple[str, ...] = ()) -> Any:
    """What a file holds, safetensors or of torch.save: tensors and their containers, memory-mapped where possible.

    allowed: classes of further objects, as torch's safe_globals takes them. left_out: beginnings of names of classes
    whose objects become `LeftOut`. Raises UserError when the file is missing, damaged or holds any other object. No
    code in it is executed.
    """
    if Path(path).suffix == ".safetensors":
        return read_tensors(path, remedy)
    with readable(path, "a complete torch file", remedy), torch.serialization.safe_globals([*allowed]):
        if zipfile.is_zipfile(path):
            check_expansion(path)
        try:
            return _load(path)
        except pickle.UnpicklingError:
            found = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
            if not all(name.startswith(left_out) for name in found):
                raise UserError(f"{path}: {PICKLED}") from None
            if not found:
                raise
        with torch.serialization.safe_globals([(LeftOut, name) for name in found]):
            return _load(path)


def _load(path: str | Path) -> Any:
    # Files of torch before version 1.6 are not zip archives, and cannot be mapped.
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


class LeftOut:
    """Placeholder for an object that is not loaded: accepts any arguments and state, and keeps nothing."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass
