"""Reading checkpoints: safetensors files, and files of torch.save that hold nothing but tensors."""

import pickle
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from fmri2img.errors import UserError


def read_tensors(path: Path) -> dict:
    """A checkpoint as it was saved, memory-mapped if the format allows it (torch's before version 1.6 does not).

    Raises UserError when the file is damaged or contains any object but tensors and their containers.
    """
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", mmap=zipfile.is_zipfile(path), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path}: not a readable checkpoint of tensors ({reason}); fetch it again") from error
