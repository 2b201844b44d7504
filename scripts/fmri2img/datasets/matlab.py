"""MATLAB files of version 5, which MATLAB calls -v6 and -v7."""

import struct
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from fmri2img.archives import inflated, measure
from fmri2img.reading import readable

HEADER, TAG = 128, 8  # bytes
ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}  # version and byte order at the end of the header
MATRIX, COMPRESSED = 14, 15  # types of data elements
VALUES = {*range(1, 8), 9, 12, 13, 16, 17, 18}
SPARSE, PLAIN = 5, range(4, 16)  # classes of matrices; those of plain values, and others that hold matrices
COMPLEX = 0x800  # in the flags of a matrix


def read_matlab(path: str | Path, names: tuple[str, ...], remedy: str, absent: str) -> dict[str, np.ndarray]:
    """These variables of a file.

    remedy, absent: what to do about a file that is damaged, or missing. Raises UserError for either, and when the file
    lacks a variable.
    """
    with readable(path, "a complete MATLAB file", remedy, absent):
        check_structure(path)
        content = loadmat(path, variable_names=names)
        lacking = [name for name in names if name not in content]
        if lacking:
            raise ValueError(f"variable '{lacking[0]}' is missing")
        return {name: np.asarray(content[name]) for name in names}


def check_structure(path: str | Path) -> None:
    """Raise an error of many types unless a file consists of data elements as the format has them.

    scipy takes their types and lengths for true, and a wrong one can crash the interpreter. A file with another header
    it takes for version 4, which has no types to check.
    """
    content = Path(path).read_bytes()
    order = ORDERS.get(content[HEADER - 4 : HEADER])
    if not order:
        raise ValueError("its header is not that of MATLAB's version 5")
    _check_elements(memoryview(content)[HEADER:], order, {MATRIX, COMPRESSED}, measure(path))


def _check_elements(content: memoryview, order: str, types: set[int], most: int = 0) -> int:
    """Check data elements, which follow each other, and return their number. most: bytes of a compressed one."""
    place = count = 0
    while place < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        small, kind = kind >> 16, kind & 0xFFFF  # of up to four bytes, which are in the tag itself
        start = place + (TAG // 2 if small else TAG)
        inner = content[start : start + (small or size)]
        if kind not in types or len(inner) < (small or size) or small > TAG // 2:
            raise ValueError(f"a data element of type {kind} and {small or size} bytes cannot be there")
        if kind == COMPRESSED:
            _check_elements(memoryview(inflated(inner, most)), order, {MATRIX})
        elif kind == MATRIX and inner:
            _check_matrix(inner, order)
        place = start + len(inner)
        if kind != COMPRESSED:
            place += -place % TAG
        count += 1
    return count


def _check_matrix(content: memoryview, order: str) -> None:
    """Check flags, dimensions, name and values of a matrix, which are elements of their own."""
    flags = struct.unpack_from(f"{order}I", content, TAG)[0]
    kind, plain = flags & 0xFF, (flags & 0xFF) in PLAIN
    count = _check_elements(content, order, VALUES if plain else VALUES | {MATRIX})
    if plain and count != 4 + 2 * (kind == SPARSE) + bool(flags & COMPLEX):
        raise ValueError(f"a matrix of class {kind} has {count} data elements")
