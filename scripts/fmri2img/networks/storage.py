"""Trained networks on disk: a directory with model.safetensors (weights) and config.json (what they are)."""

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.errors import UserError
from fmri2img.integrity import again
from fmri2img.tensors import read_tensors


def save(path: str | Path, network: nn.Module, record: dict[str, Any]) -> None:
    """Write the weights, and `record` (JSON-ready) as config.json."""
    with atomic_directory(path) as directory:
        state = {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}
        save_file(state, directory / "model.safetensors")
        write_json(directory / "config.json", record)


def load(path: str | Path, keys: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """What `save` wrote: the record, which has at least `keys`, the weights, and the name of their file.

    Raises UserError naming the file, and the key, that is missing or cannot be read.
    """
    path = Path(path)
    record = read_json(path / "config.json")
    for key in keys:
        if key not in record:
            raise UserError(f"{path / 'config.json'}: key '{key}' is missing; {again(path)}")
    weights = path / "model.safetensors"
    return record, read_tensors(weights), str(weights)


def fill(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Make the tensors of `state` the weights of `network` (built on the meta device), which gets evaluation mode.

    Raises UserError naming `source` and the first weight that is missing, unexpected or of another shape.
    """
    expected = network.state_dict()
    for name, tensor in expected.items():
        if name not in state:
            raise UserError(
                f"{source}: weight '{name}' is missing; it is not a file of this model, download or make it again"
            )
        if state[name].shape != tensor.shape:
            found, wanted = tuple(state[name].shape), tuple(tensor.shape)
            raise UserError(f"{source}: weight '{name}' has shape {found}, the configuration says {wanted}")
    for name in state:
        if name not in expected:
            raise UserError(
                f"{source}: weight '{name}' is not part of the configured model; is it another model's file?"
            )
    network.load_state_dict(state, assign=True)
    network.eval()
