"""Decoded image tokens to a prediction: pictures by unCLIP, and the tokens themselves as retrieval vectors."""

from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.prediction import IDENTITY, save_prediction
from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.generators import load_generator
from fmri2img.backbones.registry import Backbone
from fmri2img.errors import UserError
from fmri2img.generation.unclip import UnclipGenerator
from fmri2img.job import start


def reconstruct(
    decoded_path: str, generator: Backbone, autoencoder: Backbone, generation: dict, seed: int, output: str
) -> None:
    """Write the Prediction of one decoder, subject, budget and seed.

    decoded_path: Embeddings whose metadata name method, subject, sessions, seed, split and the decoder's part of the
    disclosure record; generation: steps, guidance and batch. Raises UserError when the metadata lack a key.
    """
    decoded = Embeddings.open(decoded_path)
    for key in (*IDENTITY, "disclosure"):
        if key not in decoded.metadata:
            raise UserError(f"{decoded.path / 'metadata.json'}: key '{key}' is missing; rerun the decoding")

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
    retrieval = decoded.tokens.reshape(len(decoded.ids), -1)
    save_prediction(output, decoded.ids, metadata, images=images, retrieval=retrieval)


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
