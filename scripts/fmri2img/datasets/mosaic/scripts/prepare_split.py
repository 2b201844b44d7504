"""The stimuli's parts in their datasets' own splits, or MOSAIC's lists -> a split."""

from pathlib import Path

import pandas as pd

from fmri2img import job
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.datasets.mosaic.tables import filtered_parts, published_parts
from fmri2img.errors import UserError


def make_split(
    name: str, description: str, test_sets: list[str], stimuli: pd.DataFrame, lists: dict[str, Path]
) -> Split:
    """The split of these stimuli. test_sets: of naturalistic and artificial; other test images are unused.

    lists: part -> file, of MOSAIC's own split; {} for the datasets' own. Raises UserError when a test set is empty.
    """
    parts = filtered_parts(stimuli, lists) if lists else published_parts(stimuli)
    found = {part: stimuli.loc[parts == part, "image_id"].tolist() for part in test_sets}
    for part, ids in found.items():
        if not ids:
            raise UserError(f"split {name}: none of the {len(stimuli)} images is in test set {part}; use another split")
    unused = stimuli.loc[~parts.isin(["train", *test_sets]), "image_id"].tolist()
    counts = ", ".join(f"{len(ids)} {part}" for part, ids in found.items())
    print(f"{name}: {int((parts == 'train').sum())} training images, {counts}, {len(unused)} unused")
    return Split(name, f"test: {description}", found, unused)


def main(snakemake) -> None:
    given, params = snakemake.input, snakemake.params
    lists = dict(zip(params.parts, given.get("lists", []), strict=True))
    table = Stimuli.open(given.stimuli).table
    split = make_split(snakemake.wildcards.split, params.description, params.test_sets, table, lists)
    split.save(snakemake.output.split)


if __name__ == "__main__":
    job.run(main)
