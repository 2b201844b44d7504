"""Components of the diffusion model that the encoding analysis compares, for each picture of a subject.

    z      the picture's latents, as the decoder's regression targets them
    c      the mean over its captions of the text encoder's states
    zc     latents after z was noised to a level and denoised under c; at the last step of each level, and at some steps
           of one level
    layer  activations of the denoising network's blocks at these steps, averaged to a grid of positions

All pictures have the same noise, so that they differ in z and c alone. (The released script for drawing sets one seed
before each picture, which has the same effect; the released code has no encoding analysis.)

    components.json  a list of {name, kind, noise, step, layer}; what does not apply is null
    ids.npy          int64 (images,) image_id, ascending
    <name>.npy       float16 (images, width)
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fmri2img.artifacts.arrays import new_array, read_array
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.errors import UserError

EARLY, HIGHER = "early", "higher"  # the two groups of regions that the analysis compares


@dataclass(frozen=True)
class Component:
    """noise: level to which z was noised, in 0..1; step: how many denoising steps have run, of `steps` at this level;
    layer: block of the denoising network."""

    name: str
    kind: str
    noise: float | None = None
    step: int | None = None
    steps: int | None = None
    layer: str | None = None


@dataclass(frozen=True)
class Components:
    """Opened components: what there is, and each one's values as a memory map float16 (images, width)."""

    path: Path
    ids: np.ndarray
    members: list[Component]

    @classmethod
    def open(cls, path: str | Path) -> "Components":
        """Open and validate. Raises UserError naming the file that is missing or does not fit the others."""
        path = Path(path)
        members = [Component(**entry) for entry in read_json(path / "components.json")["components"]]
        found = cls(path, np.array(read_array(path / "ids.npy")), members)
        for member in members:
            if len(found.values(member.name)) != len(found.ids):
                raise UserError(f"{path / member.name}.npy: does not hold {len(found.ids)} images; delete {path}")
        return found

    def values(self, name: str) -> np.ndarray:
        return read_array(self.path / f"{name}.npy")

    def of_kind(self, kind: str) -> list[Component]:
        return [member for member in self.members if member.kind == kind]


def save_components(
    path: str | Path, ids: np.ndarray, members: list[Component], blocks: Iterator[dict[str, np.ndarray]]
) -> None:
    """Write the directory `path`. blocks: values (n, width) of every member, for the next n of `ids`."""
    files: dict[str, np.ndarray] = {}
    with atomic_directory(path) as directory:
        row = 0
        for block in blocks:
            for member in members:
                values = block[member.name]
                if member.name not in files:
                    shape = (len(ids), values.shape[1])
                    files[member.name] = new_array(directory / f"{member.name}.npy", np.float16, shape)
                files[member.name][row : row + len(values)] = values
            row += len(values)
        np.save(directory / "ids.npy", np.asarray(ids, np.int64))
        write_json(directory / "components.json", {"components": [asdict(member) for member in members]})
        files.clear()
        Components.open(directory)
