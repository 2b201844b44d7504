"""NumPy files that others wrote: .npy and .npz, checked when they are read, and never unpickled."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fmri2img import integrity
from fmri2img.archives import check_expansion
from fmri2img.artifacts.arrays import read_array
from fmri2img.errors import UserError
from fmri2img.reading import readable

ARCHIVE, REPLACE = "a complete archive of NumPy arrays", "replace it"
ABSENT = f"put it there, or {integrity.ABSENT}"


class Archive(Mapping):
    """The arrays of an opened .npz, read when they are used."""

    def __init__(self, path: Path, file: np.lib.npyio.NpzFile) -> None:
        self.path, self._file = path, file

    def __getitem__(self, name: str) -> np.ndarray:
        """Raises UserError when the array is missing, damaged or pickled."""
        if name not in self._file:
            raise UserError(f"{self.path}: has no array '{name}', only {', '.join(self._file) or 'none'}; replace it")
        with readable(self.path, f"{ARCHIVE} whose array '{name}' can be read", REPLACE):
            return self._file[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)

    def __len__(self) -> int:
        return len(self._file)

    def __contains__(self, name: object) -> bool:
        return name in self._file

    def numbers(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """The array `name`: numbers of that shape; None stands for any length. Raises UserError."""
        return checked_numbers(self[name], shape, f"{self.path}: array '{name}'")


@contextmanager
def open_archive(path: str | Path) -> Iterator[Archive]:
    """Open an .npz file. Raises UserError when it is missing, damaged or truncated."""
    path = Path(path)
    with readable(path, ARCHIVE, REPLACE, ABSENT):
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array")
        check_expansion(path)
    with file:
        yield Archive(path, file)


def read_numbers(path: str | Path, shape: tuple[int | None, ...]) -> np.ndarray:
    """A memory map of an .npy file: numbers of that shape; None stands for any length. Raises UserError."""
    return checked_numbers(read_array(path, REPLACE, ABSENT), shape, str(path))


def checked_numbers(values: np.ndarray, shape: tuple[int | None, ...], what: str) -> np.ndarray:
    """`values` if they are numbers (or bool) of that shape; they may be NaN or infinite. Raises UserError."""
    fits = values.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, values.shape, strict=True))
    if not fits or values.dtype.kind not in "biuf":
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise UserError(f"{what}: is {values.shape} {values.dtype}, not numbers of shape ({wanted}); replace the file")
    return values


def whole_numbers(values: np.ndarray, what: str) -> np.ndarray:
    """`values` (any shape, any number type) as int64 (n,). Raises UserError when they are not whole numbers."""
    flat = np.asarray(values).reshape(-1)
    if flat.dtype.kind not in "biuf" or not np.isfinite(flat).all() or (flat != np.round(flat)).any():
        raise UserError(f"{what}: must be whole numbers; replace the file")
    return flat.astype(np.int64)
