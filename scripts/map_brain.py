"""Brain correlation of every voxel, for maps: one table a method and subject, all budgets and seeds in it."""

import pandas as pd

from fmri2img import job
from fmri2img.artifacts.atomic import atomic_file
from fmri2img.artifacts.prediction import IDENTITY, Prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.backbones.loading import RegisteredNetworks
from fmri2img.decoders.encoding.features import BandFeatures
from fmri2img.decoders.encoding.model import EncodingModel
from fmri2img.metrics.brain import MeasuredBrain, voxel_table


def main(snakemake) -> None:
    job.start(snakemake)
    model = EncodingModel.open(snakemake.input.encoding)
    known = model.metadata
    features = BandFeatures(RegisteredNetworks(snakemake.params.networks), known["bands"], known["grid"], known["size"])
    brain = MeasuredBrain.of(Recording.open(snakemake.input.recording), lambda images: model.predict(features(images)))
    parts = []
    for path in snakemake.input.predictions:
        prediction = Prediction.open(path)
        if prediction.images is not None:
            identity = {key: prediction.metadata[key] for key in IDENTITY if key != "split_sha256"}
            table = voxel_table(brain.on(prediction.ids), brain.predict(prediction.images))
            parts.append(table.assign(**identity))
            print(f"{path}: mean correlation {table['correlation'].mean():.4f}, ceiling {table['ceiling'].mean():.4f}")
    with atomic_file(snakemake.output[0]) as temporary:
        pd.concat(parts, ignore_index=True).to_parquet(temporary, index=False)


main(snakemake)
