"""Damage done to files, as disks, transfers and people do it."""

import numpy as np

ERROR_PAGE = b"<!DOCTYPE html>\n<html><body><h1>403 Forbidden</h1></body></html>\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
OTHERS = (b"", b"\0", ERROR_PAGE, POINTER, b"{}", b"[]", b"null", b"\x93NUMPY", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n")


def _place(rng: np.random.Generator, content: bytes) -> int:
    """A position in the file; half of the time in its first kilobyte, where most formats keep what the rest means."""
    return int(rng.integers(min(len(content), 1024) if rng.random() < 0.5 else len(content)))


def truncated(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: _place(rng, content)]


def lengthened(content: bytes, rng: np.random.Generator) -> bytes:
    return content + rng.bytes(int(rng.integers(1, 64)))


def replaced(content: bytes, rng: np.random.Generator) -> bytes:
    return OTHERS[rng.integers(len(OTHERS))]


def random(content: bytes, rng: np.random.Generator) -> bytes:
    return rng.bytes(len(content))


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        changed[_place(rng, content)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def overwritten(content: bytes, rng: np.random.Generator) -> bytes:
    """A run of bytes is zero, 255 or random."""
    start, length = _place(rng, content), int(rng.choice([1, 4, 8, 64, 512]))
    length = min(length, len(content) - start)
    run = (bytes(length), b"\xff" * length, rng.bytes(length))[rng.integers(3)]
    return content[:start] + run + content[start + length :]


def headless(content: bytes, rng: np.random.Generator) -> bytes:
    length = int(rng.choice([1, 8, 128]))
    return rng.bytes(length) + content[length:]


def swapped(content: bytes, rng: np.random.Generator) -> bytes:
    middle = _place(rng, content)
    return content[middle:] + content[:middle]


def repeated(content: bytes, rng: np.random.Generator) -> bytes:
    start = _place(rng, content)
    stop = start + int(rng.integers(1, 200))
    return content[:stop] + content[start:stop] + content[stop:]


MUTATIONS = (
    truncated, lengthened, replaced, random, flipped, flipped, overwritten, overwritten, headless, swapped, repeated,
)  # fmt: skip


def mutated(content: bytes, seed: int) -> bytes:
    """The content with one random mutation; never the content itself."""
    rng = np.random.default_rng(seed)
    while True:
        found = MUTATIONS[rng.integers(len(MUTATIONS))](content, rng)
        if found != content:
            return found
