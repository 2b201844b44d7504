"""Ceiling of captions: draw pictures from the true captions of a test set's images, for all subjects and budgets."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.disclosure import Disclosure
from fmri2img.artifacts.prediction import save_prediction
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.generators import load_generator
from fmri2img.backbones.prompts import prompts_of
from fmri2img.backbones.registry import Backbone
from fmri2img.generation.img2img import Refiner
from fmri2img.generation.text2img import draw

SETTINGS = ("steps", "guidance", "batch")


def draw_captions(
    stimuli: Stimuli, split: Split, cell: Cell, networks: dict[str, Backbone], refinement: dict, method: str,
    origin: str, output: str,
) -> None:  # fmt: skip
    """Write the Prediction `method` of every image of the cell's test set that is in the Stimuli.

    The first of an image's reference captions is drawn. networks: generator, autoencoder and prompts; refinement: the
    configuration's section of that name, where `start` is not used here.
    """
    ids = np.intersect1d(stimuli.ids, split.test_sets[cell.test_set])
    captions = [texts[0] for texts in stimuli.table["captions"].iloc[stimuli.rows(ids)]]
    generator = load_generator(networks["generator"])
    prompt, negative = prompts_of(captions, refinement["negative_prompt"], networks["prompts"], generator)
    images = draw(
        Refiner(generator, load_autoencoder(networks["autoencoder"])),
        ids,
        prompt,
        negative,
        cell.noise_seed,
        **{key: refinement[key] for key in SETTINGS},
        progress=job.progress("images", len(ids)),
    )
    disclosure = Disclosure(
        test_averaging="none: the true image's first caption",
        generator=f"{generator.name} ({generator.revision})",
        origin=origin,
    )
    metadata = cell._asdict() | {
        "method": method,
        "split": split.name,
        "split_sha256": split.sha256,
        "generation": {key: refinement[key] for key in SETTINGS},
        "disclosure": disclosure.record(),
    }
    save_prediction(output, ids, metadata, images=images, captions=captions)


def main(snakemake) -> None:
    draw_captions(
        Stimuli.open(snakemake.input.stimuli),
        Split.open(snakemake.input.split),
        Cell.of(snakemake.wildcards),
        {role: Backbone(*entry) for role, entry in snakemake.params.networks.items()},
        snakemake.params.refinement,
        snakemake.wildcards.method,
        snakemake.params.origin,
        snakemake.output[0],
    )


if __name__ == "__main__":
    job.run(main)
