"""Caption the test images with the captioner that is used for decoded images."""

import numpy as np
import pandas as pd

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_file
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.captioners import load_captioner, load_captioner_encoder
from fmri2img.backbones.encoders import load_encoder
from fmri2img.backbones.registry import Backbone

BLOCK = 64  # images held as tokens at a time


def caption_images(
    stimuli_path: str, split_path: str, captioner: Backbone, encoder: Backbone | None, output: str
) -> None:
    """Write a table of image_id and caption, one row for every test image of the split that is in the Stimuli.

    encoder: the one whose tokens the captioner takes, or None if the captioner has its own image encoder.
    """
    stimuli, split = Stimuli.open(stimuli_path), Split.open(split_path)
    ids = np.intersect1d(stimuli.ids, split.test_ids)
    seeing = load_captioner_encoder(captioner) if encoder is None else load_encoder(encoder)
    wording, captions = load_captioner(captioner), []
    for start_row in range(0, len(ids), BLOCK):
        images = stimuli.images[stimuli.rows(ids[start_row : start_row + BLOCK])]
        captions += wording.caption(seeing.encode_images(images)[0], captioner.record["max_length"])
        print(f"{len(captions)} of {len(ids)} images", flush=True)
    with atomic_file(output) as temporary:
        pd.DataFrame({"image_id": ids, "caption": captions}).to_parquet(temporary, index=False)


def main(snakemake) -> None:
    params = snakemake.params
    caption_images(
        snakemake.input.stimuli,
        snakemake.input.split,
        Backbone(*params.captioner),
        Backbone(*params.encoder) if params.encoder else None,
        snakemake.output[0],
    )


if __name__ == "__main__":
    job.run(main)
