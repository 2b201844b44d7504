"""Ceiling of captions: pictures drawn from the true captions of a split's test images, once for all subjects."""

import numpy as np

from fmri2img.artifacts.prediction import save_prediction
from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.generators import load_generator
from fmri2img.backbones.prompts import prompts_of
from fmri2img.backbones.registry import Backbone
from fmri2img.generation.img2img import Refiner
from fmri2img.generation.text2img import draw
from fmri2img.job import start

SETTINGS = ("steps", "guidance", "batch")


def draw_captions(
    stimuli_path: str, split_path: str, backbones: dict[str, Backbone], refinement: dict, seed: int, origin: str,
    output: str,
) -> None:  # fmt: skip
    """Write a Prediction of every test image of the split that is in the Stimuli, subject "all", 0 sessions.

    The first of an image's reference captions is drawn. backbones: generator, autoencoder and prompts; refinement: the
    configuration's section of that name, of which `start` has no meaning here.
    """
    stimuli, split = Stimuli.open(stimuli_path), Split.open(split_path)
    ids = np.intersect1d(stimuli.ids, split.test_ids)
    captions = [texts[0] for texts in stimuli.table["captions"].iloc[stimuli.rows(ids)]]
    generator = load_generator(backbones["generator"])
    prompt, negative = prompts_of(captions, refinement["negative_prompt"], backbones["prompts"], generator)
    images = draw(
        Refiner(generator, load_autoencoder(backbones["autoencoder"])),
        ids,
        prompt,
        negative,
        seed,
        **{key: refinement[key] for key in SETTINGS},
        progress=lambda done: print(f"{done} of {len(ids)} images", flush=True),
    )
    disclosure = {
        "training_trials": 0,
        "training_subjects": [],
        "trial_averaging": "none",
        "test_averaging": "none: the true image's first caption",
        "transductive": False,
        "samples_per_image": 1,
        "selector": "none",
        "encoder": "none",
        "generator": f"{generator.name} ({generator.revision})",
        "origin": origin,
    }
    metadata = {
        "method": "caption_only",
        "subject": "all",
        "sessions": 0,
        "seed": seed,
        "split": split.name,
        "split_sha256": split.sha256,
        "generation": {key: refinement[key] for key in SETTINGS},
        "disclosure": disclosure,
    }
    save_prediction(output, ids, metadata, images=images, captions=captions)


if __name__ == "__main__":
    start(snakemake)
    draw_captions(
        snakemake.input.stimuli,
        snakemake.input.split,
        {role: Backbone(*entry) for role, entry in snakemake.params.backbones.items()},
        snakemake.params.refinement,
        int(snakemake.wildcards.seed),
        snakemake.params.origin,
        snakemake.output[0],
    )
