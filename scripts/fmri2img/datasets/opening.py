"""Opening tests: does a file open, to its very end, as the format that its name says?

They find truncated and mixed-up files. Gzip has its own checksum, so there every flipped bit is found; the content of
the other formats is checked by the ETag and by the SHA-256 of the lock.
"""

import codecs
import csv
import gzip
import os
import zipfile
from pathlib import Path

from fmri2img.archives import check_expansion, check_hdf5, read_through
from fmri2img.errors import UserError


class Unreadable(Exception):
    """The file does not open as its format."""


def check_opens(path: Path, name: str) -> None:
    """Open `path` as the format that the suffix of `name` says. Raises Unreadable, or UserError for what expands beyond
    all measure."""
    for ending, check in CHECKS.items():
        if name.endswith(ending):
            try:
                check(path)
            except (ImportError, UserError):
                raise  # says nothing about the file, or says it in a line
            except Exception as error:
                # Damaged bytes make h5py, scipy and zipfile raise almost anything.
                raise Unreadable(f"{name} does not open: {type(error).__name__}: {error}") from error
            return


def _hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path) as file:
        datasets = []
        file.visititems(lambda _, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
        if not datasets:
            raise ValueError("no dataset in it")
        for dataset in datasets:
            check_hdf5(path, dataset)
            # The last chunk, or the last row of a contiguous dataset; HDF5 itself checks that the file is long enough.
            last = dataset.chunks or (1, *dataset.shape[1:])
            dataset[tuple(slice(max(0, n - chunk), n) for n, chunk in zip(dataset.shape, last, strict=True))]


def _gzip(path: Path) -> None:
    with gzip.open(path) as file:
        read_through(path, file)


def _mat(path: Path) -> None:
    from scipy.io import whosmat

    from fmri2img.datasets.matlab import check_structure

    check_structure(path)
    if not whosmat(path):
        raise ValueError("no variable in it")


def _table(separator: str):
    def check(path: Path) -> None:
        with open(path, "rb") as file:
            head = file.readline()
            file.seek(max(file.tell(), os.path.getsize(path) - 64 * 1024))
            last = file.read().rstrip(b"\r\n").rpartition(b"\n")[2]
        columns, fields = (
            next(csv.reader([line.decode("utf-8-sig")], delimiter=separator, strict=True)) for line in (head, last)
        )
        if len(columns) < 2 or len(fields) != len(columns):
            raise ValueError(f"{len(columns)} columns, but the last row has {len(fields)} fields")

    return check


def _json(path: Path) -> None:
    with open(path, "rb") as file:
        first = file.read(64).removeprefix(codecs.BOM_UTF8).lstrip()[:1]
        file.seek(max(0, os.path.getsize(path) - 64))
        last = file.read().rstrip()[-1:]
    if (first, last) not in ((b"{", b"}"), (b"[", b"]")):
        raise ValueError("it does not begin and end as JSON does")


def _zip(path: Path) -> None:
    check_expansion(path)
    with zipfile.ZipFile(path) as file:
        if not file.namelist():
            raise ValueError("empty archive")


CHECKS = {
    ".hdf5": _hdf5,
    ".h5": _hdf5,
    ".npz": _zip,
    ".gz": _gzip,
    ".mat": _mat,
    ".csv": _table(","),
    ".tsv": _table("\t"),
    ".json": _json,
    ".zip": _zip,
}
