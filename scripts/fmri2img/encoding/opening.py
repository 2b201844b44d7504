"""The encoding model of a study, fitted here or imported, as one function of pictures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fmri2img.artifacts.tables import read_json
from fmri2img.encoding.features import BandFeatures
from fmri2img.encoding.gnet import GNetEncoding
from fmri2img.encoding.model import EncodingModel


def open_encoding(path: str | Path, networks) -> Callable[[np.ndarray], np.ndarray]:
    """Pictures uint8 (n, height, width, 3) -> betas float32 (n, voxels), by the model in the directory `path`.

    networks: as fmri2img.backbones.loading.RegisteredNetworks; an imported model needs none of them.
    """
    known = read_json(Path(path) / "metadata.json")
    if known["model"] == "gnet":
        imported = GNetEncoding.open(path)
        return lambda images: imported.predict(images, known["size"], known["antialias"])
    model = EncodingModel.open(path)
    features = BandFeatures(networks, known["bands"], known["grid"], known["size"], known["antialias"])
    return lambda images: model.predict(features(images))
