"""GNet: the published encoding model with which MindEye2's brain correlation was computed.

A convolutional network trained from pictures to the betas of all eight NSD subjects at once, on the images that are not
shared (St-Yves et al., Brain-optimized deep neural network models of human visual areas learn non-hierarchical
representations, Nature Communications 2023; multi-subject weights `gnet_multisubject.pt` as released with MindEye2). A
trunk that all subjects share outputs two stacks of feature maps. Each voxel averages every map under its own receptive
field (a softmax over positions) and is a linear function of these averages.

From the checkpoint, one subject's voxels are kept, as safetensors. They are matched with a recording's voxels by their
position in the functional volume; the published evaluation relies on their order instead.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.tables import read_json, write_json
from fmri2img.backbones.pixels import resize, to_uint8, to_unit
from fmri2img.errors import UserError
from fmri2img.tensors import read_checkpoint, read_tensors

IMAGE_SIDE = 227  # pixels of the pictures that the published network was trained on
BLOCK_IMAGES, BLOCK_VOXELS = 32, 1024  # features of this many voxels are held at once
# Prefix of our names of the shared weights -> prefix of the published ones.
PUBLISHED_NAMES = {
    "pixel_mean": "mu",
    "filter1.": "pre.conv1.0.",
    "filter2.": "pre.conv2.0.",
    "first.convolution.": "enc.conv3.",
    "first.norm.": "enc.bn1.",
    **{
        f"blocks.{block}.{ours}.": f"enc.conv{block}.{theirs}."
        for block in ("4a", "4b", "5a", "5b", "6a", "6b")
        for ours, theirs in (("convolution", "conv1"), ("norm", "bn1"))
    },
}
READOUT_NAMES = {"fields.0": "rf0", "fields.1": "rf1", "weights": "w", "bias": "b"}
# Records of the training in a checkpoint, next to the last epoch's weights; they are not read.
RECORDS = {
    "num_epochs", "batch_size", "holdout_frac", "holdout_size", "final_params", "trn_loss_history", "hold_loss_history",
    "trn_cc_history", "hold_cc_history", "best_epoch", "best_joint_cc_score", "val_cc", "input_mean", "input_std",
    "voxel_roi", "voxel_mask", "voxel_ncsnr",
}  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """image: side of the pictures; filters: channels of the two convolutions before the trunk; first, shared: channels
    of its first block and of those after it; read: how many channels voxels read of the last block and of every other
    one but the first; voxels: number of the subject's voxels."""

    image: int
    filters: tuple[int, int]
    first: int
    shared: int
    read: int
    voxels: int

    @property
    def map_sides(self) -> tuple[int, int]:
        """Positions along one side of the two stacks of maps (published: 25 and 13)."""
        filtered = ((self.image - 7) // 4 + 1 - 3) // 2 + 1
        return filtered - 2, (filtered - 3) // 2 + 1


class Block(nn.Module):
    """Batch norm, 3 x 3 convolution, ReLU. The dropout between them acts only in training."""

    def __init__(self, channels: int, out: int, padding: int = 1) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.convolution = nn.Conv2d(channels, out, 3, padding=padding)

    def forward(self, maps: Tensor) -> Tensor:
        return relu(self.convolution(self.norm(maps)))


class GNet(nn.Module):
    """Pictures float (n, 3, image, image) in 0..1 -> betas float (n, voxels) of one subject."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        wide, read = sizes.shared, sizes.read
        self.register_buffer("pixel_mean", torch.zeros(3, sizes.image, sizes.image))
        self.filter1 = nn.Conv2d(3, sizes.filters[0], 11, stride=4, padding=2)
        self.filter2 = nn.Conv2d(*sizes.filters, 5, padding=2)
        self.first = Block(sizes.filters[1], sizes.first, padding=0)
        widths = {"4a": (sizes.first, wide), "6b": (wide, read)}
        self.blocks = nn.ModuleDict(
            {name: Block(*widths.get(name, (wide, wide))) for name in ("4a", "4b", "5a", "5b", "6a", "6b")}
        )
        self.fields = nn.ParameterList(torch.zeros(sizes.voxels, side, side) for side in sizes.map_sides)
        self.weights = nn.Parameter(torch.zeros(sizes.voxels, sizes.first + 6 * read))
        self.bias = nn.Parameter(torch.zeros(sizes.voxels))

    def maps(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The two stacks of feature maps, (n, first + 2 read, side, side) and (n, 4 read, side, side)."""
        filtered = max_pool2d(relu(self.filter1(pictures - self.pixel_mean)), 3, stride=2)
        first = self.first(relu(self.filter2(filtered)))
        a4 = self.blocks["4a"](first)
        b4 = self.blocks["4b"](a4)
        a5 = self.blocks["5a"](max_pool2d(b4, 3, stride=2, padding=1))
        b5 = self.blocks["5b"](a5)
        a6 = self.blocks["6a"](b5)
        b6 = self.blocks["6b"](a6)
        read = self.sizes.read
        fine = torch.cat([first, a4[:, :read], b4[:, :read]], dim=1)
        return fine, torch.cat([a5[:, :read], b5[:, :read], a6[:, :read], b6], dim=1)

    def forward(self, pictures: Tensor) -> Tensor:
        compressed = [_compress(maps.flatten(2)) for maps in self.maps(pictures)]
        betas = []
        for start in range(0, self.sizes.voxels, BLOCK_VOXELS):
            voxels = slice(start, start + BLOCK_VOXELS)
            pooled = [
                torch.einsum("vp,ncp->nvc", field[voxels].flatten(1).softmax(dim=1), maps)
                for field, maps in zip(self.fields, compressed, strict=True)
            ]
            seen = _compress(torch.cat(pooled, dim=2))
            betas.append(torch.einsum("nvc,vc->nv", seen, self.weights[voxels]) + self.bias[voxels])
        return torch.cat(betas, dim=1)


def _compress(values: Tensor) -> Tensor:
    """Signed logarithm, smooth at 0."""
    return torch.log1p(values.abs()) * values.tanh()


@dataclass(frozen=True)
class GNetEncoding:
    """An imported GNet of one subject. metadata: its sizes and its source."""

    network: GNet
    metadata: dict

    @classmethod
    def open(cls, path: str | Path) -> "GNetEncoding":
        path = Path(path)
        metadata = read_json(path / "metadata.json")
        with torch.device("meta"):
            network = GNet(Sizes(**metadata["sizes"]))
        network.load_state_dict(read_tensors(path / "gnet.safetensors"), assign=True)
        return cls(network.eval().requires_grad_(False), metadata)

    def save(self, path: str | Path) -> None:
        with atomic_directory(path) as directory:
            (directory / "gnet.safetensors").write_bytes(save(self.network.state_dict()))
            write_json(directory / "metadata.json", self.metadata | {"sizes": asdict(self.network.sizes)})

    @torch.inference_mode()
    def predict(self, images: np.ndarray, size: int, antialias: bool) -> np.ndarray:
        """Betas float32 (n, voxels) of pictures (n, height, width, 3), uint8.

        They are first resized to `size`, with or without antialiasing, and then to the network's own size, by Pillow's
        Lanczos filter on 8-bit pixels as in the published evaluation.
        """
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network, side = self.network.to(device), self.network.sizes.image
        parts = []
        for start in range(0, len(images), BLOCK_IMAGES):
            pictures = to_uint8(resize(to_unit(images[start : start + BLOCK_IMAGES]), size, antialias=antialias))
            resized = [Image.fromarray(p).resize((side, side), Image.Resampling.LANCZOS) for p in pictures]
            parts.append(network(to_unit(np.stack(resized)).to(device)).float().cpu().numpy())
        return np.concatenate(parts)


def import_gnet(path: str | Path, subject: str, voxels: pd.DataFrame, image: int = IMAGE_SIDE) -> GNetEncoding:
    """GNet of one subject, from the published checkpoint, for the voxels of a recording.

    subject: e.g. "subj01"; voxels: a Recording's table (x, y, z); image: side of the pictures it was trained on. The
    metadata names entries of the checkpoint that are neither used nor known records of its training. Raises UserError
    naming the file, and the keys that are missing, unexpected or of an unexpected shape, a subject that the checkpoint
    does not have, or a voxel that it does not predict.
    """
    record = _read(Path(path))
    number = int(subject.removeprefix("subj"))
    shared = _part(record, path, "best_params", "enc")
    readout = _part(record, path, "best_params", "fwrfs", number)
    rows = _rows(record, path, number, voxels)
    try:
        sizes = Sizes(
            image=image,
            filters=(len(shared["pre.conv1.0.bias"]), len(shared["pre.conv2.0.bias"])),
            first=len(shared["enc.conv3.bias"]),
            shared=len(shared["enc.conv4a.conv1.bias"]),
            read=len(shared["enc.conv6b.conv1.bias"]),
            voxels=len(readout["b"]),
        )
    except KeyError as missing:
        raise UserError(f"{path}: not the weights of GNet: missing {missing.args[0]}; {AGAIN}") from None
    with torch.device("meta"):
        network = GNet(sizes)
    side = {3: 1, 3 * image**2: image}.get(shared["mu"].numel()) if "mu" in shared else None
    if side:  # a mean colour, or a mean picture
        shared = shared | {"mu": shared["mu"].reshape(3, side, side).expand(3, image, image)}
    found = {f"enc {name}": tensor for name, tensor in shared.items()}
    found |= {f"fwrfs {number} {name}": tensor for name, tensor in readout.items()}
    expected = {_published(name, number): (name, tensor.shape) for name, tensor in network.state_dict().items()}
    problems = [
        ("missing", [name for name in expected if name not in found]),
        ("unexpected", [name for name in found if name not in expected]),
        (
            "of another shape:",
            [
                f"{name} {tuple(found[name].shape)} instead of {tuple(shape)}"
                for name, (_, shape) in expected.items()
                if name in found and found[name].shape != shape
            ],
        ),
    ]
    if any(names for _, names in problems):
        listed = "; ".join(f"{kind} {', '.join(names[:3])} ({len(names)} in all)" for kind, names in problems if names)
        raise UserError(f"{path}: not the weights of GNet: {listed}; {AGAIN}")

    weights = {name: found[published].clone() for published, (name, _) in expected.items()}
    for name in ("weights", "bias", "fields.0", "fields.1"):
        weights[name] = weights[name][rows]
    with torch.device("meta"):
        network = GNet(Sizes(**asdict(sizes) | {"voxels": len(rows)}))
    network.load_state_dict(weights, assign=True)
    unknown = sorted(set(record) - RECORDS - {"best_params", "voxel_index", "brain_nii_shape"})
    return GNetEncoding(network.eval().requires_grad_(False), {"model": "gnet", "subject": subject, "unread": unknown})


AGAIN = "fetch the checkpoint again, or correct its entry in config/backbones.yaml"


def _published(name: str, subject: int) -> str:
    """The name in the checkpoint of one of our weights."""
    if name in READOUT_NAMES:
        return f"fwrfs {subject} {READOUT_NAMES[name]}"
    ours = next(ours for ours in PUBLISHED_NAMES if name.startswith(ours))
    return f"enc {PUBLISHED_NAMES[ours]}{name.removeprefix(ours)}"


def _part(record: dict, path, *keys):
    """An entry of the nested dictionaries of a checkpoint. Raises UserError naming the first key that is missing."""
    for depth, key in enumerate(keys):
        if not isinstance(record, dict) or key not in record:
            where = " ".join(map(str, keys[: depth + 1]))
            known = f"; available: {', '.join(map(str, record))}" if isinstance(record, dict) and depth else ""
            raise UserError(f"{path}: not a checkpoint of GNet: lacks {where}{known}; {AGAIN}")
        record = record[key]
    return record


def _rows(record: dict, path, number: int, voxels: pd.DataFrame) -> np.ndarray:
    """Row in the checkpoint of each voxel of a recording. The checkpoint numbers voxels in C order over (X, Y, Z)."""
    index = np.asarray(_part(record, path, "voxel_index", number)).ravel()
    shape = tuple(int(n) for n in np.ravel(_part(record, path, "brain_nii_shape", number)))
    inside = (voxels[["x", "y", "z"]].to_numpy() < np.array(shape)).all()
    places = np.ravel_multi_index([voxels[axis] for axis in "xyz"], shape) if inside else np.full(len(voxels), -1)
    order = np.argsort(index)
    rows = order[np.searchsorted(index, places, sorter=order).clip(max=len(index) - 1)]
    lost = int((index[rows] != places).sum())
    if lost:
        raise UserError(
            f"{path}: predicts {len(index)} voxels of a volume {shape}, and {lost} of the recording's {len(voxels)} "
            "are not among them; use betas.mask: nsdgeneral and encoding.model: banded_ridge for any other mask"
        )
    return rows


def _read(path: Path) -> dict:
    """Read a checkpoint's tensors, NumPy arrays and numbers. No code in it is ever executed."""
    rebuild, scalar = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    allowed = [np.ndarray, np.dtype, *(type(np.dtype(code)) for code in "?bhilqBHILQefd")]
    for module in ("numpy.core", "numpy._core"):  # NumPy 1 and 2 name it differently
        allowed += [(rebuild, f"{module}.multiarray._reconstruct"), (scalar, f"{module}.multiarray.scalar")]
    return read_checkpoint(path, AGAIN, allowed)
