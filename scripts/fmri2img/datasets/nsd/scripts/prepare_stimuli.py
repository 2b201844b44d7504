"""The images that any subject of the study saw, with their captions and categories -> Stimuli."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import pandas as pd

from fmri2img import job
from fmri2img.artifacts.stimuli import save_stimuli
from fmri2img.datasets import lockfile
from fmri2img.datasets.checksums import by_key, checksums
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.design import read_design, read_trials
from fmri2img.datasets.nsd.stimuli import describe_images, image_blocks
from fmri2img.datasets.nsd.transfer_pictures import OUTSIDE, transfer_pictures


def prepare_stimuli(
    responses: dict[str, str], sessions: dict[str, int], design: str, stimulus_info: str, images: str,
    captions: dict[str, str], instances: dict[str, str], output: str, transfer: dict | None = None,
) -> None:  # fmt: skip
    """Write the Stimuli.

    responses: subject -> its responses.tsv; sessions: subject -> number of its sessions that count; captions,
    instances: cocoSplit -> COCO's JSON file; transfer: `test_sets` (key `nsd.transfer`), `subjects` and `files` (key of
    layout.py -> path) of the pictures that come after those of NSD. Raises UserError when a file is damaged, or is not
    what was downloaded.
    """
    small = {layout.EXPERIMENT_DESIGN: design, layout.STIMULUS_INFO: stimulus_info}
    small |= {layout.responses(subject): path for subject, path in responses.items()}
    small |= {layout.COCO_CAPTIONS[split]: path for split, path in captions.items()}
    small |= {layout.COCO_INSTANCES[split]: path for split, path in instances.items()}
    further = transfer if transfer and transfer["test_sets"] else None
    small |= further["files"] if further else {}
    lockfile.verify_downloaded(small | {layout.STIMULI: images})
    seen = [
        trials.loc[trials["session"] <= sessions[subject], "image_id"]
        for subject, path in responses.items()
        for trials in [read_trials(path, design, stimulus_info, subject)]
    ]
    ids = np.unique(np.concatenate(seen))
    table = describe_images(stimulus_info, captions, instances, ids)
    table["shared"] = np.isin(ids, read_design(design).shared)
    pictures = image_blocks(images, ids)
    if further:
        table, pictures = with_transfer(table, pictures, further)
    save_stimuli(output, pictures, table, {"seen_by": sessions, "sources_sha256": checksums(small)})
    print(f"{len(ids)} images seen by {', '.join(responses)}, {table['shared'].sum()} of them shared")


def with_transfer(
    table: pd.DataFrame, pictures: Iterator[np.ndarray], transfer: dict
) -> tuple[pd.DataFrame, Iterator[np.ndarray]]:
    """The images of NSD, then those of the further test sets, in pictures of the same size."""
    first = next(pictures)
    further, drawn = transfer_pictures(**transfer, size=first.shape[1])
    flagged = further["flag"].notna().sum()
    print(f"{len(further)} pictures of {', '.join(transfer['test_sets'])}; {flagged} are {OUTSIDE}")
    table = pd.concat([table.assign(flag=None), further], ignore_index=True)
    return table, chain([first], pictures, [drawn])


def main(snakemake) -> None:
    transfer = snakemake.params.transfer | {"files": by_key(snakemake.params.root, snakemake.input.transfer)}
    prepare_stimuli(
        dict(zip(snakemake.params.sessions, snakemake.input.responses, strict=True)),
        snakemake.params.sessions,
        snakemake.input.design,
        snakemake.input.stimulus_info,
        snakemake.input.images,
        dict(zip(layout.COCO_CAPTIONS, snakemake.input.captions, strict=True)),
        dict(zip(layout.COCO_INSTANCES, snakemake.input.instances, strict=True)),
        snakemake.output[0],
        transfer,
    )


if __name__ == "__main__":
    job.run(main)
