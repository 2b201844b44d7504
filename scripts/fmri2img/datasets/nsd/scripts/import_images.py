"""Fetched test images, the list of their image_id and their captions -> Stimuli and a split."""

from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img import job
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import save_stimuli
from fmri2img.backbones.pixels import to_uint8, to_unit
from fmri2img.backbones.registry import Backbone
from fmri2img.datasets.nsd import layout
from fmri2img.errors import UserError
from fmri2img.submissions.files import open_pictures, read_captions, read_ids


def import_images(folder: Path, files: dict[str, str | None], source: str, stimuli: str) -> np.ndarray:
    """Write the Stimuli; returns their image_id, int64, ascending.

    files: `pictures`, `ids` (ascending, one for each picture) and `captions` (one for each, or None), inside `folder`;
    source: a text that identifies the pictures. Their COCO categories are unknown. Raises UserError when the files do
    not fit each other.
    """
    pictures, ids = open_pictures(folder / files["pictures"]), read_ids(folder / files["ids"])
    if len(ids) != pictures.n or (np.diff(ids) <= 0).any():
        raise UserError(
            f"{folder / files['ids']}: {len(ids)} ids for {pictures.n} pictures; they must be ascending, one per "
            "picture"
        )
    captions = read_captions(folder / files["captions"], ids) if files["captions"] else []
    if captions and len(captions) != len(ids):
        raise UserError(f"{folder / files['captions']}: {len(captions)} captions for {len(ids)} pictures")
    table = pd.DataFrame(
        {
            "image_id": ids,
            "name": [layout.image_name(image_id) for image_id in ids],
            "source": source,
            "captions": [[caption] for caption in captions] or [[] for _ in ids],
            "categories": [[] for _ in ids],
            "cluster": None,
        }
    )
    blocks = (b if b.dtype == np.uint8 else to_uint8(to_unit(b)) for b in pictures.checked())
    save_stimuli(stimuli, blocks, table, {"source": source})
    return ids


def split_of(name: str, ids: np.ndarray, tested: str | None, sessions: int | None) -> Split:
    """The split of these images that tests all of them, or those that the file `tested` lists, up to a session.

    Raises UserError when the file lists another image.
    """
    if tested is None:
        return Split(name, "test: all images shared by all subjects", {name: ids.tolist()})
    chosen = np.unique(read_ids(Path(tested)))
    others = np.setdiff1d(chosen, ids)
    if len(others):
        what = f"image_id {others[0]} is not one of the {len(ids)} published test images ({len(others)} are not)"
        raise UserError(f"{tested}: {what}; leave them out")
    clause = f"test: shared images shown within the first {sessions} sessions, as listed in {tested}"
    return Split(name, clause, {name: chosen.tolist()}, np.setdiff1d(ids, chosen).tolist(), sessions)


def main(snakemake) -> None:
    images, params = dict(snakemake.params.images), snakemake.params
    entry = Backbone(images.pop("fetched"), params.backbone)
    label = f"{entry.name} ({entry.revision})"
    ids = import_images(entry.checked_folder(), images, label, snakemake.output.stimuli)
    tested = snakemake.input.get("tested") or None
    split_of(params.split, ids, tested, params.sessions).save(snakemake.output.split)


if __name__ == "__main__":
    job.run(main)
