"""Fingerprints that identify the inputs of a training without reading all of them."""

import hashlib
import json
from typing import Any

import numpy as np

ROWS = 16


def fingerprint(metadata: dict[str, Any], *arrays: np.ndarray) -> str:
    """SHA-256 (16 hex digits) of an artifact's metadata and of shape and 16 evenly spaced rows of each array."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        for row in np.linspace(0, len(array) - 1, min(ROWS, len(array))).astype(int):
            digest.update(array[row].tobytes())
    return digest.hexdigest()[:16]
