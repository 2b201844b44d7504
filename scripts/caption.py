"""Caption decoded tokens, through a converter if the captioner takes other tokens than the encoder's."""

import pandas as pd
import torch

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_file
from fmri2img.artifacts.decoded import Decoded
from fmri2img.backbones.captioners import load_captioner
from fmri2img.backbones.converters import load_converter, load_released_converter
from fmri2img.backbones.registry import Backbone


def caption(decoded_path: str, captioner: Backbone, converter: Backbone | str | None, output: str) -> None:
    """Write a table of image_id and caption, one row for each decoded image.

    converter: a registered one, the directory of one that was trained here, or None to caption the tokens themselves.
    """
    decoded = Decoded.open(decoded_path)
    tokens = decoded.array("tokens")
    if converter is not None:
        released = isinstance(converter, Backbone)
        network = load_released_converter(converter) if released else load_converter(converter)[0]
        tokens = network.to("cuda" if torch.cuda.is_available() else "cpu").convert(tokens)
    captions = load_captioner(captioner).caption(tokens, captioner.record["max_length"])
    for image_id, text in list(zip(decoded.ids, captions, strict=True))[:5]:
        print(f"image_id {image_id}: {text}")
    with atomic_file(output) as temporary:
        pd.DataFrame({"image_id": decoded.ids, "caption": captions}).to_parquet(temporary, index=False)


def main(snakemake) -> None:
    trained, registered = snakemake.input.get("trained") or None, snakemake.params.converter
    caption(
        snakemake.input.decoded,
        Backbone(*snakemake.params.captioner),
        Backbone(*registered) if registered else trained,
        snakemake.output[0],
    )


if __name__ == "__main__":
    job.run(main)
