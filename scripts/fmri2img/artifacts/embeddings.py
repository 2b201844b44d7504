"""Embeddings: outputs of a frozen network for each image: image tokens, autoencoder latents, states of its captions.

tokens.npy     float16 (images, tokens, width)
pooled.npy     float32 (images, width); the encoder's joint image-text vector, l2-normalised; absent where it has none
ids.npy        int64 (images,) image_id, ascending
metadata.json  encoder, revision, trained_on (data of the encoder), preprocessing, library versions; axes
               (artifacts/axes.py), if they are not tokens
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmri2img.artifacts.arrays import ArrayWriter, check_finite, read_array, read_rows
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.axes import Axes
from fmri2img.artifacts.shards import save_empty
from fmri2img.artifacts.stimuli import rows_of
from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.errors import UserError
from fmri2img.integrity import again

BLOCK_VALUES = 2**25  # tokens are handed out in blocks of about this many numbers (128 MB as float32)
READ_BLOCKS = 4  # blocks read at once, because short pieces of many rows are slow to read


@dataclass(frozen=True)
class Embeddings:
    """Opened embeddings; `tokens` is a read-only memory map float16 (images, tokens, width)."""

    path: Path
    tokens: np.ndarray
    pooled: np.ndarray | None
    ids: np.ndarray
    metadata: dict

    @classmethod
    def open(cls, path: str | Path) -> "Embeddings":
        """Open and validate. Raises UserError naming the file that is missing or does not fit the others."""
        path = Path(path)
        tokens, ids = read_array(path / "tokens.npy"), np.array(read_array(path / "ids.npy"))
        if tokens.ndim != 3 or tokens.dtype != np.float16 or len(tokens) != len(ids) or (np.diff(ids) <= 0).any():
            raise UserError(
                f"{path}: tokens {tokens.shape} {tokens.dtype} do not match {len(ids)} ascending ids; {again(path)}"
            )
        pooled = read_array(path / "pooled.npy") if (path / "pooled.npy").exists() else None
        return cls(path, tokens, pooled, ids, read_json(path / "metadata.json"))

    @property
    def axes(self) -> Axes:
        """What the values of an image are. Raises UserError when the metadata does not fit the tokens."""
        return Axes.of(self.metadata.get("axes"), self.tokens.shape[1:], self.path / "metadata.json")

    @property
    def label(self) -> str:
        """The encoder and its revision, as disclosure records name them."""
        return f"{self.metadata['encoder']} ({self.metadata['revision']})"

    @property
    def disclosed(self) -> dict[str, str]:
        """The disclosure's fields of the encoder."""
        return {"encoder": self.label, "encoder_data": self.metadata["trained_on"]}

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Row numbers of `ids` (any order). Raises UserError for an id that is missing."""
        return rows_of(ids, self.ids, self.path)


def disclosed(targets: Iterable[Embeddings]) -> dict[str, str]:
    """The disclosure's fields of all encoders whose outputs a decoder decodes."""
    found = [embeddings.disclosed for embeddings in targets]
    return {key: ", ".join(dict.fromkeys(fields[key] for fields in found)) for key in ("encoder", "encoder_data")}


def token_blocks(tokens: np.ndarray, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Stream the flattened tokens of some images, a block of columns at a time.

    tokens: (images, tokens, width); rows: int (rows,). Yields (columns of the flattened tokens, float32 (rows,
    columns)).
    """
    size, step = int(np.prod(tokens.shape[1:])), max(1, BLOCK_VALUES // len(rows))
    for first in range(0, size, step * READ_BLOCKS):
        last = min(first + step * READ_BLOCKS, size)
        read = read_rows(tokens, rows, slice(first, last))
        for start in range(first, last, step):
            columns = slice(start, min(start + step, last))
            yield columns, read[:, start - first : columns.stop - first].astype(np.float32)


def save_embeddings(
    path: str | Path,
    ids: np.ndarray,
    blocks: np.ndarray | Iterable[tuple[np.ndarray, np.ndarray | None]],
    metadata: dict,
) -> None:
    """Write embeddings of ascending `ids`; without ids an empty shard.

    blocks: a (images, tokens, width) array, or an iterator of (tokens, pooled-or-None) blocks in the order of `ids`.
    Raises UserError when a value is not finite, or a token overflows float16 (65504).
    """
    if not len(ids):
        return save_empty(path)
    with atomic_directory(path) as directory:
        row, tokens_file, pooled_file = 0, None, None
        for tokens, pooled in [(blocks, None)] if isinstance(blocks, np.ndarray) else blocks:
            with np.errstate(over="ignore"):
                stored = tokens.astype(np.float16)
            check_finite(stored, f"{path}: the tokens of image_id {ids[row]} and following")
            if tokens_file is None:
                tokens_file = ArrayWriter(directory / "tokens.npy", np.float16, (len(ids), *tokens.shape[1:]))
                if pooled is not None:
                    pooled_file = np.empty((len(ids), pooled.shape[1]), np.float32)
            tokens_file.write(stored)
            if pooled is not None and pooled_file is not None:
                check_finite(pooled, f"{path}: the pooled vectors of image_id {ids[row]} and following")
                pooled_file[row : row + len(tokens)] = pooled
            row += len(tokens)
        if tokens_file is None or row != len(ids):
            raise ValueError(f"{row} embeddings for {len(ids)} ids")
        tokens_file.close()
        if pooled_file is not None:
            np.save(directory / "pooled.npy", pooled_file)
        np.save(directory / "ids.npy", np.asarray(ids, np.int64))
        write_json(directory / "metadata.json", metadata)
        Embeddings.open(directory)


def save_vectors(path: str | Path, ids: np.ndarray, vectors: np.ndarray, metadata: dict) -> None:
    """Write embeddings of one vector for each image, such as those that a dataset brings.

    ids: ascending; vectors: float (images, width), stored as one token and, l2-normalised, as the joint vector.
    Raises UserError when a value is not finite or overflows float16 (65504), or a vector has length zero.
    """
    vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    if not lengths.all():
        raise UserError(f"{path}: the vector of image_id {ids[np.flatnonzero(lengths == 0)[0]]} is zero; leave it out")
    pooled = (vectors / lengths).astype(np.float32)
    save_embeddings(path, ids, [(vectors[:, None], pooled)], metadata)


def mean_tokens(embeddings: Embeddings, ids: np.ndarray) -> np.ndarray:
    """Mean of the true tokens of some images, float32 (tokens, width)."""
    _, n_tokens, width = embeddings.tokens.shape
    mean = np.empty(n_tokens * width, np.float32)
    for columns, block in token_blocks(embeddings.tokens, embeddings.rows(ids)):
        mean[columns] = block.mean(axis=0, dtype=np.float64)
    return mean.reshape(n_tokens, width)
