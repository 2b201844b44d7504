"""A decoder's retrieval vectors as a prediction without pictures."""

from fmri2img.artifacts.decoded import Decoded
from fmri2img.artifacts.prediction import IDENTITY, save_prediction
from fmri2img.job import start


def main(snakemake) -> None:
    start(snakemake)
    decoded = Decoded.open(snakemake.input.decoded)
    disclosure = decoded.metadata["disclosure"] | {"generator": "none"}
    metadata = {key: decoded.metadata[key] for key in IDENTITY}
    metadata |= {"disclosure": disclosure, "encoder": disclosure["encoder"]}
    save_prediction(snakemake.output[0], decoded.ids, metadata, retrieval=decoded.retrieval)


main(snakemake)
