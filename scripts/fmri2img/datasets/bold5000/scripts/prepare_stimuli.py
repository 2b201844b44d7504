"""Pictures and the lists of them -> Stimuli and the split by repetition."""

from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img import job
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import save_stimuli
from fmri2img.datasets.bold5000.presentations import all_names, read_trials, repeated_names
from fmri2img.datasets.bold5000.stimuli import categories, read_images, read_labels, source_of
from fmri2img.errors import UserError


def prepare_stimuli(stimuli: str | Path, subjects: list[str], size: int, output: str | Path) -> Split:
    """Write the Stimuli of the pictures that these subjects saw, and return the split. Raises UserError.

    image_id is the position in the alphabetical list of all subjects' pictures, so it does not depend on `subjects`.
    """
    stimuli = Path(stimuli)
    names = all_names(stimuli)
    seen = sorted({name for subject in subjects for name in read_trials(stimuli, subject)["name"]})
    repeated = set(repeated_names(stimuli))
    ids = np.flatnonzero(np.isin(names, seen))
    tested = [k for k in ids.tolist() if names[k] in repeated]
    if not tested or len(tested) == len(ids):
        raise UserError(
            f"{stimuli}: {len(tested)} of the {len(ids)} pictures that were shown are in the list of repeated ones; "
            "replace the list, or the presentation lists"
        )
    labels = read_labels(stimuli)
    table = pd.DataFrame(
        {
            "image_id": ids,
            "name": seen,
            "source": [source_of(name) for name in seen],
            "captions": [[] for _ in seen],
            "categories": [categories(name, labels) for name in seen],
            "cluster": None,
        }
    )
    save_stimuli(output, read_images(stimuli, seen, size), table, {"seen_by": subjects})
    print(f"{len(ids)} pictures seen by {', '.join(subjects)}; {len(tested)} of {len(repeated)} repeated ones")
    return Split("repeated", f"test: the {len(tested)} pictures that were shown repeatedly", {"repeated": tested})


def main(snakemake) -> None:
    params = snakemake.params
    split = prepare_stimuli(snakemake.input.stimuli, params.subjects, params.image_size, snakemake.output.stimuli)
    split.save(snakemake.output.split)


if __name__ == "__main__":
    job.run(main)
