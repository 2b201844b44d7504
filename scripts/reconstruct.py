"""Decoded image tokens to a prediction: pictures by unCLIP, and the tokens themselves as retrieval vectors."""

from fmri2img.artifacts.decoded import Decoded
from fmri2img.artifacts.prediction import IDENTITY, save_prediction
from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.generators import load_generator
from fmri2img.backbones.registry import Backbone
from fmri2img.generation.unclip import UnclipGenerator
from fmri2img.job import start


def reconstruct(
    decoded_path: str, generator: Backbone, autoencoder: Backbone, generation: dict, seed: int, output: str
) -> None:
    """Write the Prediction of one decoder, subject, budget and seed.

    decoded_path: a Decoded; generation: steps, guidance and batch.
    """
    decoded = Decoded.open(decoded_path)
    unclip = UnclipGenerator(load_generator(generator), load_autoencoder(autoencoder))
    images = unclip.generate(
        decoded.tokens,
        decoded.ids,
        seed,
        **generation,
        progress=lambda done: print(f"{done} of {len(decoded.ids)} images", flush=True),
    )

    disclosure = decoded.metadata["disclosure"] | {
        "samples_per_image": 1,
        "selector": "none",
        "generator": f"{generator.name} ({generator.revision})",
    }
    metadata = {key: decoded.metadata[key] for key in IDENTITY} | {
        "disclosure": disclosure,
        "encoder": disclosure["encoder"],
        "generation": generation,
    }
    save_prediction(output, decoded.ids, metadata, images=images, retrieval=decoded.retrieval)


if __name__ == "__main__":
    start(snakemake)
    reconstruct(
        snakemake.input.decoded,
        Backbone(*snakemake.params.generator),
        Backbone(*snakemake.params.autoencoder),
        snakemake.params.generation,
        int(snakemake.wildcards.seed),
        snakemake.output[0],
    )
