"""Save a decoder's retrieval vectors as a prediction without pictures."""

from fmri2img import job
from fmri2img.artifacts.decoded import Decoded
from fmri2img.artifacts.prediction import IDENTITY, save_prediction


def main(snakemake) -> None:
    decoded = Decoded.open(snakemake.input.decoded)
    metadata = {key: decoded.metadata[key] for key in IDENTITY} | {
        "method": snakemake.wildcards.method,
        "disclosure": decoded.disclosure.record(),
        "encoder": decoded.disclosure.encoder,
    }
    save_prediction(snakemake.output[0], decoded.ids, metadata, retrieval=decoded.retrieval)


if __name__ == "__main__":
    job.run(main)
