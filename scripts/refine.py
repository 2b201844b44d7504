"""Redraw unrefined pictures with a text-to-image network, conditioned on their captions."""

import numpy as np

from fmri2img import job
from fmri2img.artifacts.cells import noise_seed
from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.artifacts.tables import read_table
from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.generators import load_generator
from fmri2img.backbones.prompts import prompts_of
from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError
from fmri2img.generation.img2img import Refiner

SETTINGS = ("steps", "start", "guidance", "batch")


def refine(
    unrefined_path: str, captions_path: str, networks: dict[str, Backbone], refinement: dict, method: str, output: str
) -> None:
    """Write the Prediction `method`: refined pictures, the captions they were conditioned on, retrieval vectors.

    unrefined_path: a Prediction with images; captions_path: table of image_id and caption in the order of its rows.
    networks: generator, autoencoder and prompts; refinement: the configuration's section of that name.
    """
    unrefined = Prediction.open(unrefined_path)
    table = read_table(captions_path, {"image_id": "iu", "caption": "OUT"})
    if unrefined.images is None or not np.array_equal(table["image_id"], unrefined.ids):
        raise UserError(f"{captions_path}: its image_id are not those of the pictures of {unrefined_path}; rerun both")
    captions = table["caption"].tolist()
    generator = load_generator(networks["generator"])
    prompt, negative = prompts_of(captions, refinement["negative_prompt"], networks["prompts"], generator)
    refiner = Refiner(generator, load_autoencoder(networks["autoencoder"]))
    images = refiner.refine(
        unrefined.images,
        unrefined.ids,
        prompt,
        negative,
        noise_seed(unrefined.metadata["seed"]),
        **{key: refinement[key] for key in SETTINGS},
        progress=job.progress("images", len(captions)),
    )
    drawn = f"{unrefined.disclosure.generator}, {generator.name} ({generator.revision})"
    metadata = unrefined.metadata | {
        "method": method,
        "of": unrefined.metadata["method"],
        "disclosure": unrefined.disclosure.but(generator=drawn).record(),
        "refinement": refinement,
    }
    save_prediction(output, unrefined.ids, metadata, images=images, captions=captions, retrieval=unrefined.retrieval)


def main(snakemake) -> None:
    refine(
        snakemake.input.unrefined,
        snakemake.input.captions,
        {role: Backbone(*entry) for role, entry in snakemake.params.networks.items()},
        snakemake.params.refinement,
        snakemake.wildcards.method,
        snakemake.output[0],
    )


if __name__ == "__main__":
    job.run(main)
