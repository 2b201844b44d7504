"""Read the files of a submission safely: no code in them is ever executed.

Pictures are a folder of numbered .png or .jpg files, or one array in a .npy, .safetensors or .pt file. Arrays are read
block by block, so that 3 GB of pictures do not need 3 GB of memory.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.artifacts.arrays import read_array
from fmri2img.errors import UserError
from fmri2img.reading import readable, reason
from fmri2img.submissions.numbering import BY_IMAGE_ID, IMAGE_ID, Numbering, are_rows

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
ARRAY_SUFFIXES = (".npy", ".safetensors", ".pt", ".pth")
BLOCK = 64  # rows read at once
TEXT = "utf-8-sig"  # some editors begin a file with a byte-order mark
JSON_CAPTIONS = (
    f'a list of texts, one a row; {{"2950": "a dog"}}; or [{{"{IMAGE_ID}": 2950, "caption": "a dog"}}], as COCO has it'
)
LARGEST = 4096  # pixels a side, so that a block of pictures fits into memory
SLACK = 0.01  # beyond 0..1, for float pictures that were resized or stored in half precision


@dataclass(frozen=True)
class Rows:
    """An array that is read block by block. read: (start, stop) -> those rows as a NumPy array."""

    path: Path
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[int, int], np.ndarray]

    def blocks(self) -> Iterator[np.ndarray]:
        for start in range(0, self.shape[0], BLOCK):
            yield self.read(start, min(start + BLOCK, self.shape[0]))


def open_rows(path: Path) -> Rows:
    """Open an array file. Raises UserError when it is missing, damaged, or holds anything but one array."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path in the submission")
    openers = {".npy": _open_npy, ".safetensors": _open_safetensors, ".pt": _open_pt, ".pth": _open_pt}
    opener = openers.get(path.suffix.lower())
    if opener is None:
        raise UserError(f"{path}: '{path.suffix}' is not a known array; save it as one of {', '.join(ARRAY_SUFFIXES)}")
    return opener(path)


def _open_npy(path: Path) -> Rows:
    if zipfile.is_zipfile(path):
        raise UserError(f"{path}: an archive of arrays (.npz); save one array with numpy.save")
    array = read_array(path, "save it again with numpy.save")
    return Rows(path, array.shape, str(array.dtype), lambda start, stop: np.array(array[start:stop]))


def _open_safetensors(path: Path) -> Rows:
    from safetensors import safe_open

    with readable(path, "a complete safetensors file", "save it again"):
        file = safe_open(path, framework="pt")
    names = list(file.keys())
    if len(names) != 1:
        raise UserError(f"{path}: holds {len(names)} tensors ({', '.join(names[:4])}); save one tensor to a file")
    tensor = file.get_slice(names[0])
    dtype = str(file.get_tensor(names[0]).dtype).removeprefix("torch.")
    return Rows(path, tuple(tensor.get_shape()), dtype, lambda start, stop: _to_numpy(tensor[start:stop]))


def _open_pt(path: Path) -> Rows:
    import torch

    found = _load_pt(path)
    if isinstance(found, dict):
        tensors = [value for value in found.values() if isinstance(value, torch.Tensor)]
        found = tensors[0] if len(tensors) == len(found) == 1 else found
    if not isinstance(found, torch.Tensor):
        raise UserError(f"{path}: holds a {type(found).__name__}, not a tensor; save the tensor alone")
    if found.layout != torch.strided or found.is_nested or found.is_quantized or found.is_meta:
        raise UserError(f"{path}: holds a sparse, nested, quantised or meta tensor; save it dense, with its values")
    tensor = found.detach()  # in case it is a parameter
    dtype = str(tensor.dtype).removeprefix("torch.")
    return Rows(path, tuple(tensor.shape), dtype, lambda start, stop: _to_numpy(tensor[start:stop]))


def _to_numpy(tensor) -> np.ndarray:
    """The tensor as an array. bfloat16 and float8 become float32, because NumPy does not know them."""
    foreign = str(tensor.dtype).startswith(("torch.bfloat16", "torch.float8"))
    return tensor.float().numpy() if foreign else tensor.numpy()


def _load_pt(path: Path):
    """Load a .pt file of tensors or an array of text. It is memory-mapped if torch.save wrote it as a zip archive."""
    from fmri2img.tensors import read_checkpoint

    text = [np.ndarray, np.dtype, type(np.dtype("U1"))]
    rebuild = np.empty(0).__reduce__()[0]  # NumPy 1 and 2 have it in differently named modules
    text += [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    return read_checkpoint(path, "save the tensor alone with torch.save", text)


@dataclass(frozen=True)
class Pictures:
    """Pictures of a submission. numbers: those in the names of files, ascending; None for an array.

    in_order: the same pictures with their rows in this order, of files.
    """

    path: Path
    numbers: np.ndarray | None
    n: int
    size: tuple[int, int]
    blocks: Callable[[], Iterator[np.ndarray]]
    in_order: Callable[[np.ndarray], "Pictures"] | None = None

    def checked(self) -> Iterator[np.ndarray]:
        """Blocks (n, h, w, 3), uint8 or float32 within 0..1. Raises UserError for values out of range, NaN and Inf."""
        largest = 0
        for number, block in enumerate(self.blocks()):
            if block.dtype == np.uint8:
                largest = max(largest, int(block.max()))
                yield block
                continue
            block = block.astype(np.float32)
            if not np.isfinite(block).all():
                row = number * BLOCK + int(np.argmin(np.isfinite(block).all(axis=(1, 2, 3))))
                raise UserError(f"{self.path}: row {row} holds NaN or Inf; draw that picture again")
            low, high = float(block.min()), float(block.max())
            if low < -SLACK or high > 1 + SLACK:
                remedy = "divide by 255" if high > 2 else "map -1..1 to 0..1, or clamp"
                raise UserError(f"{self.path}: values from {low:.3g} to {high:.3g}, expected 0 to 1; {remedy}")
            largest = 255
            yield block.clip(0, 1)
        if largest == 1:  # 0 alone is black
            raise UserError(f"{self.path}: uint8 values of at most 1, expected 0 to 255; multiply by 255")


def open_pictures(path: Path) -> Pictures:
    """Open pictures of any supported form. Raises UserError for a shape, dtype or name that cannot be pictures."""
    if path.is_dir():
        return _open_folder(path)
    rows = open_rows(path)
    if len(rows.shape) != 4 or 3 not in (rows.shape[1], rows.shape[3]) or 0 in rows.shape[1:]:
        raise UserError(f"{path}: shape {rows.shape}, expected (pictures, h, w, 3) or (pictures, 3, h, w)")
    if rows.dtype not in ("uint8", "float16", "bfloat16", "float32", "float64"):
        raise UserError(f"{path}: dtype {rows.dtype}, expected uint8 (0 to 255) or float (0 to 1)")
    last = rows.shape[3] == 3
    size = rows.shape[1:3] if last else rows.shape[2:4]
    _check_square(path, size)

    def blocks() -> Iterator[np.ndarray]:
        for block in rows.blocks():
            yield block if last else np.ascontiguousarray(block.transpose(0, 2, 3, 1))

    return Pictures(path, None, rows.shape[0], tuple(size), blocks)


def _check_square(path: Path, size: tuple[int, int]) -> None:
    if max(size) > LARGEST:
        raise UserError(f"{path}: pictures of {size[0]} x {size[1]} pixels; resize them to {LARGEST} or fewer a side")
    if size[0] != size[1]:
        raise UserError(f"{path}: pictures of {size[0]} x {size[1]} pixels, but stimuli are square; crop them")


def _open_folder(path: Path) -> Pictures:
    from PIL import Image

    damaged = OSError, SyntaxError, ValueError, Image.DecompressionBombError  # all types that Pillow raises
    # Names that begin with a dot are other systems' notes on the files: ._2950.png
    files = [f for f in path.iterdir() if f.suffix.lower() in PICTURE_SUFFIXES and not f.name.startswith(".")]
    if not files:
        raise UserError(f"{path}: holds no {', '.join(PICTURE_SUFFIXES)} files; name each picture by its image_id")
    numbers = _numbers_in(path, sorted(file.name for file in files))
    files = sorted(files, key=lambda file: (numbers[file.name], file.name))
    sizes = set()
    for file in files:
        try:
            with Image.open(file) as picture:
                sizes.add((picture.height, picture.width))
        except damaged:
            raise UserError(f"{file}: not a picture that can be read; save it again") from None
        if len(sizes) > 1:
            raise UserError(f"{file}: pictures of different sizes {sorted(sizes)}; save all at one size")
    size = sizes.pop()
    _check_square(path, size)

    def read(file: Path) -> np.ndarray:
        try:
            with Image.open(file) as picture:
                if picture.mode.startswith("I"):  # 16-bit grey values, which Pillow would clip at 255
                    grey = np.rint(np.asarray(picture, np.float64) / 257).astype(np.uint8)
                    return np.repeat(grey[:, :, None], 3, axis=2)
                return np.asarray(picture.convert("RGB"))
        except damaged as error:
            raise UserError(f"{file}: not a complete picture ({reason(error)}); save it again") from None

    def of(ordered: list[Path]) -> Pictures:
        def blocks() -> Iterator[np.ndarray]:
            for start in range(0, len(ordered), BLOCK):
                yield np.stack([read(file) for file in ordered[start : start + BLOCK]])

        found = np.array([numbers[file.name] for file in ordered], np.int64)
        return Pictures(path, found, len(ordered), size, blocks, lambda order: of([ordered[row] for row in order]))

    return of(files)


def _numbers_in(path: Path, names: list[str]) -> dict[str, int]:
    """File name -> the number in it. Of several (shared0001_nsd02951.png) it is the last that differs in all names."""
    found = {name: re.findall(r"\d{1,18}", Path(name).stem) for name in names}
    without = next((name for name, numbers in found.items() if not numbers), None)
    if without:
        raise UserError(f"{path}: '{without}' has no number in its name; name it by its image_id, like 2950.png")
    columns = list(zip(*found.values(), strict=False))  # as many as the shortest has
    differing = [column for column in columns if len(set(column)) == len(names)]
    if len(set(map(len, found.values()))) > 1 or not differing:
        return {name: int(numbers[-1]) for name, numbers in found.items()}
    return {name: int(number) for name, number in zip(names, differing[-1], strict=True)}


def read_ids(path: Path, numbering: Numbering = BY_IMAGE_ID) -> np.ndarray:
    """image_id of each row, int64 (rows,): .npy of whole numbers (or a mask over all images), .json with a list, .txt,
    or .csv with a column that is named after a numbering."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path in the submission")
    column = None
    if path.suffix.lower() == ".npy":
        rows = _open_npy(path)
        if len(rows.shape) != 1:
            raise UserError(
                f"{path}: {rows.dtype} of shape {rows.shape} is not a list of image_id; save a one-dimensional array"
            )
        numbers = rows.read(0, None)
        if numbers.dtype == bool:
            return np.flatnonzero(numbers)
    elif path.suffix.lower() == ".json":
        content = _json(path, "a list of image_id")
        whole = isinstance(content, list) and all(type(number) is int and abs(number) < 2**63 for number in content)
        numbers = np.array(content if whole else [str(content)])
    else:
        numbers, column = _numbers_of_lines(path, numbering)
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
        what = f"{numbers.dtype} of shape {numbers.shape} is not a list of image_id"
        raise UserError(f"{path}: {what}; save whole numbers, of several columns under {IMAGE_ID}")
    return numbering.ids_of(numbers, str(path), column)


def _numbers_of_lines(path: Path, numbering: Numbering) -> tuple[np.ndarray, str | None]:
    """Numbers in a file of text, and the numbering that its header names."""
    try:
        text = path.read_text(encoding=TEXT)
        header = [cell.strip().strip('"') for cell in text.split("\n", 1)[0].split(",")]
        column = numbering.column(header)
        table = pd.read_csv(io.StringIO(text), header=0 if column else None)
        return table.iloc[:, header.index(column) if column else 0].to_numpy(), column
    except (ValueError, IndexError) as error:
        raise UserError(f"{path}: not a list of image_id ({reason(error)}); write one a line") from None


def _json(path: Path, wanted: str):
    """The content of a JSON file. Raises UserError when it is not JSON, or an object has a key twice."""

    def once(pairs: list[tuple]) -> dict:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key occurs twice")
        return dict(pairs)

    try:
        return json.loads(path.read_text(encoding=TEXT), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({reason(error)}); write {wanted}") from None


def read_captions(path: Path, ids: np.ndarray | None = None, numbering: Numbering = BY_IMAGE_ID) -> list[str]:
    """One caption a row: .txt (a line each), .csv with `caption`, .json, or a .pt with an array of text.

    ids: image_id of the rows, int64 (rows,). Captions with numbers are put in their order, and refused if they are of
    other images: a .csv with a column that is named after a numbering, a .json with an object or with COCO's results.
    The numbers in a .json may be in any numbering that gives just these images, or those of the rows.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path in the submission")
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _captions_of_table(path, ids, numbering)
    if suffix == ".json":
        return _captions_of_json(path, ids, numbering)
    if suffix in (".pt", ".pth"):
        found = _load_pt(path)
        found = found.tolist() if isinstance(found, np.ndarray) else found
    else:
        try:
            # Not splitlines, which also splits at characters that a caption may hold.
            found = path.read_text(encoding=TEXT).removesuffix("\n").split("\n")
        except ValueError as error:
            raise UserError(f"{path}: not a list of captions ({reason(error)}); write one a line") from None
    if not isinstance(found, (list, tuple)) or not all(isinstance(caption, str) for caption in found):
        raise UserError(f"{path}: not a list of captions; write one a line")
    return list(found)


def _captions_of_table(path: Path, ids: np.ndarray | None, numbering: Numbering) -> list[str]:
    try:
        table = pd.read_csv(path, keep_default_na=False, encoding=TEXT)
        captions = table["caption"].astype(str).tolist()
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: no table with a column caption ({reason(error)}); write one") from None
    column = numbering.column(table.columns)
    if ids is None or column is None:
        return captions
    numbers = table[column].to_numpy()
    if numbers.dtype.kind not in "iu":
        raise UserError(f"{path}: column {column} is {numbers.dtype}; write whole numbers")
    return _in_order(captions, numbering.ids_of(numbers, str(path), column), ids, path)


def _captions_of_json(path: Path, ids: np.ndarray | None, numbering: Numbering) -> list[str]:
    content, column = _json(path, JSON_CAPTIONS), None
    if isinstance(content, list) and all(isinstance(entry, str) for entry in content):
        return content
    if isinstance(content, list) and content and all(isinstance(entry, dict) for entry in content):
        column = numbering.column(content[0])
        content = [(entry.get(column), entry.get("caption")) for entry in content]
    elif isinstance(content, dict):
        content = list(content.items())
    elif isinstance(content, list):
        content = [(row, caption) for row, caption in enumerate(content)]
    else:
        content = [(None, content)]
    for number, text in content:
        if not isinstance(text, str) or not re.fullmatch(r"\d{1,18}", str(number)):
            found = f"{type(text).__name__} under {number!r}"
            raise UserError(f"{path}: holds a {found}, not a text under a number; write {JSON_CAPTIONS}")
    numbers, captions = np.array([int(n) for n, _ in content], np.int64), [text for _, text in content]
    fitting = None if ids is None else numbering.fitting(numbers, ids)
    if ids is None or (fitting != numbering.name and are_rows(numbers, len(ids))):
        return [captions[row] for row in np.argsort(numbers, kind="stable")]
    return _in_order(captions, numbering.ids_of(numbers, str(path), fitting or column), ids, path)


def _in_order(captions: list[str], own: np.ndarray, ids: np.ndarray, path: Path) -> list[str]:
    """The captions of the images `own` in the order of `ids`, which must be the same images, each once."""
    unique, counts = np.unique(own, return_counts=True)
    if (counts > 1).any():
        raise UserError(
            f"{path}: image_id {unique[counts > 1][0]} occurs more than once; keep one caption for each image"
        )
    missing, others = np.setdiff1d(ids, own), np.setdiff1d(own, ids)
    if len(missing) or len(others):
        raise UserError(
            f"{path}: its image_id differ from the prediction's: {len(missing)} are missing, {len(others)} belong to "
            "other images; write one caption for each image"
        )
    return [captions[row] for row in np.argsort(own)[np.searchsorted(unique, ids)]]
