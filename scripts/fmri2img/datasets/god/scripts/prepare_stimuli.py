"""Pictures and the recordings' lists of them -> Stimuli and the split by classes."""

from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img import job
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import save_stimuli
from fmri2img.datasets.god import layout, names
from fmri2img.datasets.god.responses import pictures_of_bdpy
from fmri2img.datasets.god.stimuli import pictures_in_order, read_images


def prepare_stimuli(root: str, files: str, images: str, size: int, responses: list[str], output: str) -> Split:
    """Write the Stimuli; image_id numbers training pictures from 0 in alphabetical order, then test pictures.

    root, files, images, size: configuration `god`; responses: the subjects' files. Raises UserError.
    """
    seen = pictures_of_bdpy(responses) if files == layout.BDPY else None
    pictures = pictures_in_order(Path(root), images, seen)
    all_names = [*pictures.training, *pictures.test]
    synsets = [names.synset_of(name) for name in all_names]
    table = pd.DataFrame(
        {
            "image_id": np.arange(len(all_names)),
            "name": all_names,
            "source": "ImageNet",
            "captions": [[] for _ in all_names],
            "categories": [names.categories(name) for name in all_names],
            "cluster": synsets,
        }
    )
    save_stimuli(output, read_images(Path(root), images, pictures, size), table, {"images": images, "files": files})
    test_ids = table["image_id"].iloc[len(pictures.training) :].tolist()
    n_classes = len(set(synsets[len(pictures.training) :]) - {None}) or len(test_ids)
    print(
        f"{len(pictures.training)} training and {len(test_ids)} test pictures; {n_classes} test classes, none trained"
    )
    description = f"test: {len(test_ids)} pictures of {n_classes} object classes, none of which is trained on"
    return Split("classes", description, {"perception": test_ids})


def main(snakemake) -> None:
    given, params = snakemake.input, snakemake.params
    split = prepare_stimuli(
        params.root, params.files, params.images, params.image_size, given.responses, snakemake.output.stimuli
    )
    split.save(snakemake.output.split)


if __name__ == "__main__":
    job.run(main)
