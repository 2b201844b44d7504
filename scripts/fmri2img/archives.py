"""Compressed files, bounded before and while they are unpacked: a small one can expand to fill a disk or the memory.

Sizes that a file states are compared with its own size, and where a library would unpack more than a file states, what
comes out is counted: blocks of HDF5, elements of MATLAB files, streams of gzip. Members of ZIP archives end at the size
that the archive states.
"""

import math
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fmri2img.errors import UserError
from fmri2img.reading import readable

if TYPE_CHECKING:
    import h5py

RATIO, FREE = 200, 2**30  # a file may expand to RATIO times its size, and any file to FREE bytes
DEFLATE = 1032  # the most to which zlib's method expands, times its input
BLOCK = 4 * 2**20
CHUNK = FREE // DEFLATE  # bytes of a packed block of HDF5 that expands to FREE at most
ARRANGING = {2, 3}  # filters of HDF5 that keep the size: shuffle, fletcher32
GZIP = 1  # the filter of HDF5 that unpacks whatever there is


def measure(path: str | Path) -> int:
    """Bytes to which a file may expand."""
    return max(FREE, RATIO * Path(path).stat().st_size)


def check_measure(path: str | Path, expanded: int) -> None:
    """Raise UserError when a file expands to `expanded` bytes, and that is beyond all measure."""
    if expanded > measure(path):
        size = Path(path).stat().st_size
        raise UserError(
            f"{path}: would expand from {size / 1e6:.1f} MB to {expanded / 1e9:.1f} GB, and is not unpacked; replace "
            "it by what it should hold"
        )


def check_expansion(path: str | Path) -> None:
    """Raise UserError when a ZIP archive expands beyond all measure, or is packed by a method without a bound."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    check_measure(path, sum(member.file_size for member in members))
    other = next((m for m in members if m.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)), None)
    if other is not None:
        raise UserError(f"{path}: {other.filename!r} is neither stored nor deflated; pack the archive again so")


def unpack(path: str | Path, into: str | Path, remedy: str) -> None:
    """Unpack a ZIP archive below the folder `into`. Raises UserError for one that is damaged or expands too far."""
    with readable(path, "a complete ZIP archive", remedy):
        check_expansion(path)
        with zipfile.ZipFile(path) as archive:
            archive.extractall(into)


def read_through(path: str | Path, unpacked: BinaryIO) -> None:
    """Read an unpacked stream of a file to its end. Raises UserError when it expands beyond all measure."""
    total = 0
    while block := unpacked.read(BLOCK):
        total += len(block)
        check_measure(path, total)


def inflated(content: bytes | memoryview, most: int) -> bytes:
    """zlib's data unpacked. Raises ValueError when there are more than `most` bytes, before they fill the memory."""
    unpacking = zlib.decompressobj()
    found = unpacking.decompress(content, most + 1)
    if len(found) > most:
        raise ValueError(f"a block unpacks to more than {most / 1e6:.1f} MB")
    if not unpacking.eof:
        raise ValueError("a block ends too early")
    return found


def check_hdf5(path: str | Path, dataset: "h5py.Dataset") -> None:
    """Raise UserError or ValueError when reading a dataset of an HDF5 file could fill the memory.

    HDF5 unpacks a block to its end, whatever size the dataset has, so large packed blocks are counted first.
    """
    check_measure(path, dataset.size * dataset.dtype.itemsize)
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(number)[0] for number in range(properties.get_nfilters())]
    packing = [number for number in filters if number not in ARRANGING]
    if len(packing) > 1:
        raise ValueError(f"dataset '{dataset.name}' is compressed more than once")
    if packing == [GZIP]:
        large = []
        dataset.id.chunk_iter(lambda block: large.append(block.chunk_offset) if block.size > CHUNK else None)
        whole = math.prod(dataset.chunks) * dataset.dtype.itemsize + 64  # and a checksum
        for place in large:
            skipped, content = dataset.id.read_direct_chunk(place)
            if not skipped:
                inflated(content, whole)
