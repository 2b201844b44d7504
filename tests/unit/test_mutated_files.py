"""Damaged files of every format are read as far as they can be true, or refused in one line; none ends in a traceback.

More and other mutations: pytest tests/unit/test_mutated_files.py --cases 20 --seed 1
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import god_files
import laion_files
import mosaic_files
import numpy as np
import pandas as pd
import pytest
import torch
from designs import DISCLOSURE
from mutations import mutated
from nsd_tree import PER_SESSION, Tree
from PIL import Image
from prepared import DESIGN, STIMULUS_INFO, responses
from recordings import small_recording
from safetensors.numpy import save_file

from fmri2img.artifacts.anatomy import Anatomy, save_anatomy
from fmri2img.artifacts.decoded import Decoded, save_decoded
from fmri2img.artifacts.embeddings import Embeddings, save_embeddings
from fmri2img.artifacts.features import Features, save_features
from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.scores import COLUMNS, read_scores, save_scores
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import Stimuli, save_stimuli
from fmri2img.artifacts.test_images import TestImages
from fmri2img.backbones.converters import CaptionConverter, load_converter, save_converter
from fmri2img.datasets.bold5000.stimuli import read_arrays as read_picture_arrays
from fmri2img.datasets.god.responses import Pictures, read_bdpy, read_npz
from fmri2img.datasets.hcp.patterns import read_volumes
from fmri2img.datasets.laion_fmri import layout
from fmri2img.datasets.laion_fmri.betas import read_masked_session as read_laion_session
from fmri2img.datasets.laion_fmri.betas import read_session_trials
from fmri2img.datasets.laion_fmri.embeddings import read_embeddings, read_names
from fmri2img.datasets.laion_fmri.regions import list_regions
from fmri2img.datasets.laion_fmri.splits import read_split
from fmri2img.datasets.laion_fmri.stimuli import picture_blocks, read_captions
from fmri2img.datasets.laion_fmri.volumes import Regions, read_ncsnr
from fmri2img.datasets.mosaic.betas import open_subject
from fmri2img.datasets.mosaic.parcels import read_parcels
from fmri2img.datasets.mosaic.tables import read_list, read_stimuli
from fmri2img.datasets.nsd.betas import read_masked_session
from fmri2img.datasets.nsd.design import read_design, read_trials
from fmri2img.datasets.nsd.stimuli import describe_images, image_blocks
from fmri2img.datasets.nsd.volumes import read_mask, read_volume
from fmri2img.datasets.numpy_files import read_numbers
from fmri2img.datasets.pictures import read_picture
from fmri2img.encoding.model import EncodingModel
from fmri2img.errors import UserError
from fmri2img.linear.decoder import LinearDecoder
from fmri2img.networks import storage
from fmri2img.submissions.checks import check_submission
from fmri2img.submissions.record import predictions_of, read_record
from fmri2img.tensors import read_checkpoint

PER_FILE = 12  # mutations
IDS = np.array([3, 8, 20, 21])
IDENTITY = {
    "method": "ridge", "subject": "subj01", "sessions": 1, "seed": 0, "split": "s", "split_sha256": "0",
    "test_set": "s", "disclosure": DISCLOSURE,
}  # fmt: skip
TEST = TestImages("subj01", "s", "0" * 64, {"s": IDS})
RNG = np.random.default_rng(0)


class Opened(NamedTuple):
    """files: that are damaged in turn, relative to the folder; read: opens what is in the folder."""

    files: list[str]
    read: Callable[[Path], object]


def nsd(folder: Path) -> Opened:
    tree = Tree(folder)
    mask = tree.labels["subj01"]["nsdgeneral"] > 0
    shown = np.unique(tree.ids("subj01"))
    betas, roi = tree.betas_file("subj01", 1), tree.roi("subj01")
    ceiling = betas.with_name("ncsnr.nii.gz")
    coco = [
        f"annotations/{what}_{part}.json" for what in ("captions", "instances") for part in ("train2017", "val2017")
    ]
    stimuli = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"

    def read(root: Path) -> None:
        read_design(root / DESIGN)
        read_trials(root / responses("subj01"), root / DESIGN, root / STIMULUS_INFO, "subj01")
        read_masked_session(root / betas.relative_to(folder), mask, PER_SESSION)
        read_mask(root / roi.relative_to(folder))
        read_volume(root / ceiling.relative_to(folder), mask.shape)
        list(image_blocks(root / stimuli, shown))
        captions, instances = (
            {p: root / f"annotations/{what}_{p}.json" for p in ("train2017", "val2017")}
            for what in ("captions", "instances")
        )
        describe_images(root / STIMULUS_INFO, captions, instances, shown)

    names = [str(path.relative_to(folder)) for path in (betas, roi, ceiling)]
    return Opened([DESIGN, responses("subj01"), STIMULUS_INFO, stimuli, *coco, *names], read)


def laion(folder: Path) -> Opened:
    laion_files.write(folder)
    images, betas, trials = laion_files.IMAGES, layout.betas("sub-03", 1), layout.trials("sub-03", 1)
    ceiling, split = layout.noise_ceiling("sub-03", "12rep"), layout.split("sub-03", "tau")
    laion_files.put(folder, split, laion_files.split_file("tau", images[:2], images[:6]))
    listed = list_regions("sub-03", folder).relative_to(folder)
    (mask,) = folder.glob("derivatives/rois/*/general/*.nii.gz")

    def read(root: Path) -> None:
        regions = Regions(root / listed, root)
        general = regions.mask(layout.GENERAL)
        regions.columns(general)
        read_ncsnr(root / ceiling, general, 1 / 12)
        read_laion_session(root / betas, general, len(read_session_trials(root / trials, 1)))
        read_names(root / layout.embeddings("CLIP"))
        read_embeddings(root / layout.embeddings("CLIP"), images[:6])
        read_captions(root / layout.CAPTIONS)
        list(picture_blocks(root / layout.PICTURES, root / layout.METADATA, images, 12))
        read_split(root / split, "sub-03", "tau", False)

    # Without the pictures: HDF5 itself does not return from some damaged blocks of values of unequal length.
    stimuli = [layout.embeddings("CLIP"), layout.CAPTIONS, layout.METADATA]
    return Opened([str(mask.relative_to(folder)), str(listed), betas, trials, ceiling, split, *stimuli], read)


def god(folder: Path) -> Opened:
    rows = god_files.design()
    folder.mkdir()
    god_files.write_bdpy(folder / "Subject1.h5", rows, god_files.betas(len(rows)), compressed=True)
    god_files.write_npz(folder / "sbj_1.npz", rows, god_files.betas(len(rows)))
    pictures = Pictures(sorted(god_files.TRAINING), god_files.TEST)

    def read(root: Path) -> None:
        read_bdpy(root / "Subject1.h5", "VC")
        read_npz(root / "sbj_1.npz", "VC", pictures)

    return Opened(["Subject1.h5", "sbj_1.npz"], read)


def mosaic(folder: Path) -> Opened:
    folder.mkdir()
    parts = mosaic_files.nsd_responses(1)
    ceilings = {"sub-01_NSD_phase-test_n-1_noiseceiling": np.full(mosaic_files.ELEMENTS, 30.0)}
    mosaic_files.write_betas(folder / "sub-01_NSD.hdf5", "sub-01_NSD", parts, ceilings)
    mosaic_files.write_table(folder / "table.tsv", mosaic_files.NSD_ROWS)
    mosaic_files.write_list(folder / "list.json", [("sub-01_NSD", row[0], 2, row[3]) for row in mosaic_files.NSD_ROWS])
    mosaic_files.write_parcels(folder / "parcels.npz")

    def read(root: Path) -> None:
        columns = np.arange(mosaic_files.VISUAL)
        with open_subject(root / "sub-01_NSD.hdf5", "sub-01_NSD", mosaic_files.ELEMENTS) as file:
            file.filled()
            file.ncsnr(columns)
            list(file.blocks(columns))
        read_stimuli(root / "table.tsv", "NSD")
        read_list(root / "list.json")
        read_parcels(root / "parcels.npz")

    return Opened(["sub-01_NSD.hdf5", "table.tsv", "list.json", "parcels.npz"], read)


def others(folder: Path) -> Opened:
    """BOLD5000's betas and pictures, HCP's volumes, a picture, networks of others."""
    folder.mkdir()
    np.save(folder / "betas.npy", RNG.normal(size=(16, 3)))
    np.save(folder / "pictures.npy", np.array({"a": RNG.integers(0, 256, (8, 8, 3), np.uint8)}, dtype=object))
    np.savez(folder / "hcp.npz", **{name: RNG.normal(size=(20, 3)) for name in ("V1", "V2", "V3", "V4")})
    for suffix in ("jpg", "png"):
        Image.fromarray(RNG.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"picture.{suffix}")
    torch.save({"state_dict": {"a.weight": torch.ones(8, 8)}}, folder / "network.pt")
    torch.save({"a.weight": torch.ones(8, 8)}, folder / "old.pt", _use_new_zipfile_serialization=False)

    def read(root: Path) -> None:
        read_numbers(root / "betas.npy", (None, None))
        read_picture_arrays(root / "pictures.npy")
        read_volumes(root / "hcp.npz")
        for suffix in ("jpg", "png"):
            read_picture(root / f"picture.{suffix}", 16)
        for name in ("network.pt", "old.pt"):
            read_checkpoint(root / name, "fetch it again")

    return Opened(["betas.npy", "pictures.npy", "hcp.npz", "picture.jpg", "picture.png", "network.pt", "old.pt"], read)


def recording(folder: Path) -> Opened:
    small_recording(folder, "subj01", 5)
    return Opened(["betas.npy", "trials.parquet", "voxels.parquet", "metadata.json"], Recording.open)


def stimuli(folder: Path) -> Opened:
    table = {"image_id": IDS, "name": list("abcd"), "source": "x", "cluster": None}
    table |= {"captions": [["a dog"]] * 4, "categories": [[]] * 4}
    save_stimuli(folder, RNG.integers(0, 256, (4, 8, 8, 3), np.uint8), pd.DataFrame(table), {"a": 1})
    return Opened(["images.npy", "stimuli.parquet", "metadata.json"], Stimuli.open)


def embeddings(folder: Path) -> Opened:
    save_embeddings(folder, IDS, [(RNG.normal(size=(4, 2, 3)), RNG.normal(size=(4, 3)))], {"encoder": "e"})
    return Opened(["tokens.npy", "pooled.npy", "ids.npy", "metadata.json"], lambda path: Embeddings.open(path).axes)


def features(folder: Path) -> Opened:
    save_features(folder, IDS, {"pooled": RNG.normal(size=(4, 3))}, {"network": "n"})
    return Opened(["pooled.npy", "ids.npy", "metadata.json"], lambda path: Features.open(path).of("pooled", IDS))


def decoded(folder: Path) -> Opened:
    save_decoded(folder, IDS, IDENTITY, {"tokens": RNG.normal(size=(4, 2, 3))})
    return Opened(["tokens.npy", "ids.npy", "metadata.json"], lambda path: Decoded.open(path).disclosure)


def prediction(folder: Path) -> Opened:
    save_prediction(
        folder, IDS, IDENTITY, RNG.integers(0, 256, (4, 8, 8, 3), np.uint8), list("abcd"), RNG.normal(size=(4, 6))
    )
    files = ["images.npy", "captions.parquet", "retrieval.npy", "ids.npy", "metadata.json"]
    return Opened(files, lambda path: Prediction.open(path).disclosure)


def anatomy(folder: Path) -> Opened:
    save_anatomy(folder, np.ones((3, 4, 5), bool), np.ones((3, 4, 5, 3)))
    return Opened(["brain.npy", "mni.npy"], Anatomy.open)


def single_files(folder: Path) -> Opened:
    row = {"method": "m", "subject": "s", "sessions": 1, "seed": 0, "split": "x", "test_set": "x", "metric": "pixcorr"}
    save_scores(
        folder / "scores.parquet", pd.DataFrame([row | {"image_id": int(i), "value": 0.5} for i in IDS])[list(COLUMNS)]
    )
    Split("s", "d", {"s": IDS.tolist()}).save(folder / "split.json")
    TEST.save(folder / "test_images.json")

    def read(root: Path) -> None:
        read_scores(root / "scores.parquet")
        Split.open(root / "split.json")
        TestImages.open(root / "test_images.json")

    return Opened(["scores.parquet", "split.json", "test_images.json"], read)


def ridge(folder: Path) -> Opened:
    arrays = (np.ones((1, 3, 4), np.float32), np.zeros(6, np.int16), np.zeros(3), np.full(4, 0.25), IDS)
    LinearDecoder(*arrays, *[np.ones(6)] * 4, metadata={"calibration": "none"}).save(folder)
    return Opened(["decoder.safetensors", "metadata.json"], LinearDecoder.open)


def encoding(folder: Path) -> Opened:
    EncodingModel(np.ones((3, 4), np.float32), *[np.ones(3)] * 2, *[np.ones(4)] * 2, metadata={}).save(folder)
    return Opened(["encoding.safetensors", "metadata.json"], EncodingModel.open)


def network(folder: Path) -> Opened:
    storage.save(folder, torch.nn.Linear(3, 2), {"config": {}})

    def read(path: Path) -> None:
        _, state, source = storage.load(path, ("config",))
        with torch.device("meta"):
            storage.fill(torch.nn.Linear(3, 2), state, source)

    return Opened(["model.safetensors", "config.json"], read)


def converter(folder: Path) -> Opened:
    save_converter(folder, CaptionConverter(2, 3, 4, 5), {"a": 1})
    return Opened(["converter.safetensors", "converter.json"], load_converter)


def submission(folder: Path) -> Opened:
    """Every form in which pictures, vectors, captions and ids are handed in; faults are lines, not exceptions."""
    folder.mkdir()
    pictures = RNG.integers(0, 256, (4, 16, 16, 3), np.uint8)
    np.save(folder / "p.npy", pictures)
    np.save(folder / "ids.npy", IDS)
    torch.save(torch.from_numpy(pictures), folder / "p.pt")
    save_file({"p": pictures}, folder / "p.safetensors")
    (folder / "folder").mkdir()
    for number, picture in zip(IDS, pictures, strict=True):
        Image.fromarray(picture).save(folder / f"folder/{number}.png")
    (folder / "ids.csv").write_text("image_id\n" + "\n".join(map(str, IDS)))
    (folder / "ids.txt").write_text("\n".join(map(str, IDS)))
    (folder / "c.txt").write_text("a dog\na cat\na tree\na house\n")
    (folder / "c.json").write_text(json.dumps(["a dog", "a cat", "a tree", "a house"]))
    pd.DataFrame({"image_id": IDS, "caption": list("abcd")}).to_csv(folder / "c.csv", index=False)
    torch.save(np.array(["a dog", "a cat", "a tree", "a house"]), folder / "c.pt")
    record = {"predictions": [{"subject": "subj01", "sessions": 1, "seed": 0, "images": "p.npy", "ids": "ids.npy"}]}
    (folder / "submission.yaml").write_text(json.dumps(record | {"disclosure": DISCLOSURE}))
    forms = [
        {"images": images, "ids": ids, "captions": captions}
        for images, ids, captions in (
            ("p.npy", "ids.npy", "c.txt"), ("p.pt", "ids.csv", "c.json"), ("p.safetensors", "ids.txt", "c.csv"),
            ("folder", None, "c.pt"),
        )
    ]  # fmt: skip

    def read(root: Path) -> list[str]:
        found = []
        for form in forms:
            files = {key: value for key, value in form.items() if value}
            one = record["predictions"][0] | {"images": None, "ids": None} | files
            one = {key: value for key, value in one.items() if value is not None}
            (made,) = predictions_of("mine", {"predictions": [one], "disclosure": DISCLOSURE}, root, {})
            found += check_submission(replace(made, test_set="s"), TEST)[1]
        read_record(root / "submission.yaml")
        return found

    files = [form[key] for form in forms for key in form if form[key] and form[key] != "folder"]
    return Opened([*files, "folder/3.png", "submission.yaml"], read)


ARTIFACTS = (
    recording, stimuli, embeddings, features, decoded, prediction, anatomy, single_files, ridge, encoding, network,
    converter,
)  # fmt: skip
FILES_OF_OTHERS = (nsd, laion, god, mosaic, others, submission)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Maps a function above to its folder, made once, and what it holds."""
    known = {}

    def of(make: Callable[[Path], Opened]) -> tuple[Path, Opened]:
        if make not in known:
            folder = tmp_path_factory.mktemp("files") / make.__name__
            known[make] = folder, make(folder)
            known[make][1].read(folder)
        return known[make]

    return of


def outcomes(folder: Path, opened: Opened, first: int, last: int) -> Iterator[tuple[str, int, Exception | None]]:
    """Damage each file by the mutations of these seeds. Yields the file, the seed and what opening it raised."""
    for name in opened.files:
        whole = (folder / name).read_bytes()
        for seed in range(first, last):
            (folder / name).write_bytes(mutated(whole, seed))
            try:
                opened.read(folder)
            except Exception as error:
                yield name, seed, error
            else:
                yield name, seed, None
        (folder / name).write_bytes(whole)


def is_one_line(error: Exception, folder: Path) -> bool:
    """Whether an error is a line for the user which names a file of the folder or the folder."""
    text = str(error)
    return isinstance(error, UserError) and text.isprintable() and str(folder) in text and len(text) < 1000


@pytest.mark.parametrize("make", [*ARTIFACTS, *FILES_OF_OTHERS], ids=lambda make: make.__name__)
def test_a_damaged_file_without_a_record_is_read_or_refused_in_one_line(made, make, case):
    folder, opened = made(make)
    for record in folder.glob("*checksums.json"):
        record.unlink()
    found = list(outcomes(folder, opened, case(0), case(PER_FILE)))
    wrong = [(name, seed, repr(error)) for name, seed, error in found if error and not is_one_line(error, folder)]
    assert not wrong
    assert sum(error is not None for _, _, error in found) > len(found) / 4 or make is submission


@pytest.mark.parametrize("make", ARTIFACTS, ids=lambda make: make.__name__)
def test_no_damage_to_an_artifact_passes_for_data(tmp_path, make, case):
    folder = tmp_path / "artifact"
    opened = make(folder)
    found = list(outcomes(folder, opened, case(0), case(PER_FILE)))
    wrong = [(name, seed, repr(error)) for name, seed, error in found if not error or not is_one_line(error, folder)]
    assert not wrong
