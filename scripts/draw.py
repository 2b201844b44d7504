"""Draw pictures from a Decoded's image tokens with unCLIP, and keep its retrieval vectors."""

from fmri2img import job
from fmri2img.artifacts.cells import Cell
from fmri2img.artifacts.decoded import Decoded
from fmri2img.artifacts.prediction import IDENTITY, save_prediction
from fmri2img.backbones.autoencoders import load_autoencoder
from fmri2img.backbones.generators import load_generator
from fmri2img.backbones.registry import Backbone
from fmri2img.generation.unclip import UnclipGenerator


def draw(
    decoded: Decoded, generator: Backbone, autoencoder: Backbone, generation: dict, seed: int, method: str,
    outputs: list[str], output: str,
) -> None:  # fmt: skip
    """Write the Prediction `method`. generation: steps, guidance and batch; outputs: images, retrieval or both."""
    unclip = UnclipGenerator(load_generator(generator), load_autoencoder(autoencoder))
    images = unclip.generate(
        decoded.array("tokens"),
        decoded.ids,
        seed,
        **generation,
        progress=job.progress("images", len(decoded.ids)),
    )
    disclosure = decoded.disclosure.but(generator=f"{generator.name} ({generator.revision})")
    metadata = {key: decoded.metadata[key] for key in IDENTITY} | {
        "method": method,
        "disclosure": disclosure.record(),
        "encoder": disclosure.encoder,
        "generation": generation,
    }
    retrieval = decoded.retrieval if "retrieval" in outputs else None
    save_prediction(output, decoded.ids, metadata, images=images, retrieval=retrieval)


def main(snakemake) -> None:
    params = snakemake.params
    draw(
        Decoded.open(snakemake.input.decoded),
        Backbone(*params.generator),
        Backbone(*params.autoencoder),
        params.generation,
        Cell.of(snakemake.wildcards).noise_seed,
        snakemake.wildcards.method,
        params.outputs,
        snakemake.output[0],
    )


if __name__ == "__main__":
    job.run(main)
