"""Draw what each subject's decoder makes of synthetic responses of single regions, as a grid of pictures."""

import numpy as np
import pandas as pd

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_directory
from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.recording import Recording
from fmri2img.backbones.registry import Backbone
from fmri2img.methods.brain_diffuser.draw import redrawn
from fmri2img.methods.brain_diffuser.regions import decoded_regions, picture_grid
from fmri2img.reporting.style import save_figure


def main(snakemake) -> None:
    params, inputs = snakemake.params, snakemake.input
    targets = dict(zip(params.targets, map(Embeddings.open, inputs.targets), strict=True))
    networks = {role: Backbone(*entry) for role, entry in params.networks.items()}
    pictures, tables = {}, []
    for subject, path, decoder in zip(params.subjects, inputs.recordings, inputs.decoders, strict=True):
        regions, arrays, table = decoded_regions(decoder, Recording.open(path), targets, params.regions)
        # Every region has the same noise: pictures of a subject differ by what is decoded alone.
        ids = np.zeros(len(regions), np.int64)
        images = redrawn(networks, arrays, ids, 0, params.settings, job.progress(f"regions of {subject}", len(regions)))
        pictures[subject] = dict(zip(regions, images, strict=True))
        tables.append(table.assign(subject=subject))
    with atomic_directory(snakemake.output[0]) as directory:
        save_figure(picture_grid(pictures), directory / "figure", formats=("png",))
        table = pd.concat(tables).round(4)
        table[["subject", *(name for name in table if name != "subject")]].to_csv(directory / "table.csv", index=False)


if __name__ == "__main__":
    job.run(main)
