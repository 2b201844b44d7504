"""Score predictions against their stimuli: every metric of the study, every image.

Both images are resized twice, as in MindEye2's evaluation: first to `evaluation.size` (published: 256), then to the
metric's own size: `evaluation.pixel_size` for PixCorr and SSIM (published: 425), the network's input size for features.
Resizing is bilinear on float pixels, squashing to a square, antialiased when it shrinks; torchvision's Resize does the
same on tensors with antialias=True, the default from 0.17 on. The published numbers were made under 0.16, where tensors
were not antialiased by default, which shifts low-level metrics slightly.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.prediction import IDENTITY, Prediction
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.backbones.pixels import resize, to_unit
from fmri2img.errors import UserError
from fmri2img.metrics import features, pixels, retrieval

ON_PIXELS = {"pixcorr": pixels.pixcorr, "ssim": pixels.ssim}
ON_FEATURES = {
    "identification": features.identification,
    "identification_reverse": features.identification_reverse,
    "correlation_distance": features.correlation_distance,
}
ON_RETRIEVAL = {"retrieval_image": retrieval.retrieval_image, "retrieval_brain": retrieval.retrieval_brain}

BLOCK_IMAGES = 16  # small enough for the caches of a CPU: EfficientNet-Lite2 takes half the time of 64


def score(
    predictions: list[Prediction],
    stimuli: Stimuli,
    embeddings: Embeddings,
    metrics: dict[str, dict],
    load_network: Callable,
    evaluation: dict,
    pools: dict,
) -> pd.DataFrame:
    """Scores of predictions that share their test images: the table of `artifacts.scores`.

    embeddings: true tokens, for retrieval; metrics: entries of config/metrics.yaml by name; load_network: (name of a
    backbone, layers) -> object with `features(pictures) -> {layer: float32 (n, d)}`, called once per network;
    evaluation: `size` and `pixel_size`; pools: `pool` and `resamples`. A metric whose input a prediction lacks is left
    out; a prediction with no metric left has no rows.
    Raises UserError when the predictions are of different images or do not fit the embeddings.
    """
    ids = predictions[0].ids
    for prediction in predictions:
        if not np.array_equal(prediction.ids, ids):
            raise UserError(f"{prediction.path}: its test images differ from those of {predictions[0].path}")
    truth = stimuli.images[stimuli.rows(ids)]
    pictured = [p for p in predictions if p.images is not None]
    retrieving = [p for p in predictions if p.retrieval is not None]
    parts = []

    def add(prediction: Prediction, metric: str, values: np.ndarray) -> None:
        identity = {key: prediction.metadata[key] for key in IDENTITY if key != "split_sha256"}
        parts.append(pd.DataFrame({**identity, "metric": metric, "nsd_id": ids, "value": values.astype(np.float64)}))

    on_pixels = {name: ON_PIXELS[m["function"]] for name, m in metrics.items() if m["function"] in ON_PIXELS}
    if on_pixels:
        for prediction, values in _pixel_values(on_pixels, truth, pictured, evaluation):
            for name in on_pixels:
                add(prediction, name, values[name])

    on_features = {name: m for name, m in metrics.items() if m["function"] in ON_FEATURES}
    for network_name in dict.fromkeys(m["network"] for m in on_features.values()) if pictured else ():
        by_layer = {name: m for name, m in on_features.items() if m["network"] == network_name}
        network = load_network(network_name, sorted({m["layer"] for m in by_layer.values()}))
        true_features = _features(network, truth, evaluation["size"])
        for prediction in pictured:
            found = _features(network, prediction.images, evaluation["size"])
            for name, m in by_layer.items():
                add(prediction, name, ON_FEATURES[m["function"]](true_features[m["layer"]], found[m["layer"]]))

    on_retrieval = {name: ON_RETRIEVAL[m["function"]] for name, m in metrics.items() if m["needs"] == "retrieval"}
    if on_retrieval and retrieving:
        tokens = np.asarray(embeddings.tokens[embeddings.rows(ids)]).reshape(len(ids), -1)
        for prediction in retrieving:
            if prediction.retrieval.shape != tokens.shape:
                raise UserError(
                    f"{prediction.path / 'retrieval.npy'}: {prediction.retrieval.shape[1]} dimensions, but the true "
                    f"tokens in {embeddings.path} have {tokens.shape[1]}; score it with the encoder it was made for"
                )
            for name, function in on_retrieval.items():
                add(prediction, name, function(tokens, prediction.retrieval, pools["pool"], pools["resamples"]))
    return pd.concat(parts, ignore_index=True)


def _pictures(images: np.ndarray, *sizes: int) -> np.ndarray:
    """uint8 (n, h, w, 3) resized to each of `sizes` in turn: float32 (n, size, size, 3) in 0..1."""
    resized = to_unit(np.array(images))  # a copy: torch takes no read-only memory maps
    for size in sizes:
        resized = resize(resized, size)
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy())


def _pixel_values(
    functions: dict, truth: np.ndarray, predictions: list[Prediction], evaluation: dict
) -> Iterator[tuple[Prediction, dict[str, np.ndarray]]]:
    """Block by block, so that 1,000 images of 425 pixels never stand in memory at once."""
    sizes = evaluation["size"], evaluation["pixel_size"]
    values = {id(p): {name: np.empty(len(truth)) for name in functions} for p in predictions}
    for start in range(0, len(truth), BLOCK_IMAGES):
        block = slice(start, start + BLOCK_IMAGES)
        true_pictures = _pictures(truth[block], *sizes)
        for prediction in predictions:
            pictures = _pictures(prediction.images[block], *sizes)
            for name, function in functions.items():
                values[id(prediction)][name][block] = function(true_pictures, pictures)
    return ((p, values[id(p)]) for p in predictions)


def _features(network, images: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """layer -> float32 (n, d)"""
    blocks = [
        network.features(_pictures(images[start : start + BLOCK_IMAGES], size))
        for start in range(0, len(images), BLOCK_IMAGES)
    ]
    return {layer: np.concatenate([block[layer] for block in blocks]) for layer in blocks[0]}
