"""Score predictions against their stimuli: every metric of the study for every image.

Where a prediction has several samples of an image, each set of samples is scored, and the mean of the sets is kept.

Both images are resized twice, as in MindEye2's evaluation: first to `evaluation.size` (published: 256), then to the
metric's own size: `evaluation.pixel_size` for PixCorr and SSIM (published: 425), the network's input size for features.
Resizing is bilinear on float pixels and squashes to a square. Pictures that become smaller are filtered first
(`evaluation.antialias`), as torchvision's Resize does by default since 0.17. The published numbers were computed with
0.16, where tensors were not; without the filter SSIM differs in its third digit.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Protocol

import numpy as np
import pandas as pd

from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.features import Features
from fmri2img.artifacts.prediction import IDENTITY, Prediction
from fmri2img.artifacts.scores import WHOLE_SET
from fmri2img.artifacts.stimuli import Stimuli, rows_of
from fmri2img.backbones.features import BLOCK_IMAGES, features_of
from fmri2img.backbones.pixels import resized_pictures
from fmri2img.errors import UserError
from fmri2img.metrics import brain, captions, features, pixels, retrieval, sets
from fmri2img.metrics.pairs import PAIRS

# Functions by their name in the registry. An entry's `parameters` are keyword arguments.
ON_PIXELS = {"pixcorr": pixels.pixcorr, "ssim": pixels.ssim}
ON_FEATURES = {
    "identification": features.identification,
    "identification_reverse": features.identification_reverse,
    "n_way_identification": features.n_way_identification,
    "n_way_top_k": features.n_way_top_k,
    "n_way_top_k_sampled": features.n_way_top_k_sampled,
    "correlation_distance": features.correlation_distance,
    "kid": sets.kid_contributions,
    "fid": sets.fid,
}
ON_PAIRS = ("perceptual_distance",)  # the network itself compares the two pictures
ON_RETRIEVAL = {"retrieval_image": retrieval.retrieval_image, "retrieval_brain": retrieval.retrieval_brain}
ON_CAPTIONS = {
    "rouge": captions.rouge,
    "meteor": captions.meteor,
    "bleu": captions.bleu,
    "text_cosine": captions.text_cosine,
    "clip_score": captions.clip_score,
    "ref_clip_score": captions.ref_clip_score,
    "cider": captions.cider,
    "spice": captions.spice,
}
BY_TEXT_VECTORS = ("text_cosine", "clip_score", "ref_clip_score")
ON_BRAIN = {"brain_correlation": brain.brain_correlation, "voxel_correlation": brain.voxel_correlation}


class Networks(Protocol):
    """Loads networks by the name of their entry in config/backbones.yaml; see fmri2img.backbones.loading.

    features: -> object with `features(pictures) -> {layer: float32 (n, d)}`; perceptual: -> object with
    `distances(true pictures, pictures) -> (n,)`; texts: -> function list of sentences -> float (n, d), l2-normalised;
    wordnet: -> directory of WordNet's files. Pictures are float32 (n, size, size, 3) in 0..1.
    """

    def features(self, name: str, layers: list[str]): ...
    def perceptual(self, name: str): ...
    def texts(self, name: str): ...
    def wordnet(self, name: str) -> str: ...


def score(
    predictions: list[Prediction],
    stimuli: Stimuli,
    embeddings: Embeddings | None,
    metrics: dict[str, dict],
    networks: Networks,
    evaluation: dict,
    pools: dict,
    measured: brain.MeasuredBrain | None = None,
    captioned: pd.DataFrame | None = None,
    true_features: Mapping[str, Features] = MappingProxyType({}),
    see: Callable[[Prediction, brain.MeasuredBrain, np.ndarray], None] = lambda prediction, measured, betas: None,
    see_pairs: "Callable[[Prediction, str, Pairs], None]" = lambda prediction, metric, pairs: None,
) -> pd.DataFrame:
    """Scores of predictions that share their test images: the table of `artifacts.scores`.

    embeddings: true tokens, for retrieval (None where no metric needs them); metrics: entries of config/metrics.yaml by
    name; networks: each is loaded once for all predictions; evaluation: `size`, `pixel_size` and `antialias`; pools:
    `pool` and `resamples`; measured: the subject's test betas with its encoding model, for brain correlation;
    captioned: image_id and caption, the captioner's captions of the true images, for metrics that use them as
    references; true_features: each network's features of the stimuli; see: called with each prediction that has
    pictures, the betas measured for its images and the betas predicted from its pictures (of several samples, each in
    turn); see_pairs: called with each prediction, metric, and a function that makes the values of all pairs of its
    images and rows (`fmri2img.metrics.pairs`), None where there is none.

    A metric whose input a prediction lacks is left out, and a prediction without any metric has no rows. Responses to
    repeats replace retrieval vectors and predicted betas (see `_on_repeats`). Raises UserError when the predictions
    have different images or do not match the embeddings, or when an image lacks the reference captions that a metric
    needs.
    """
    ids = predictions[0].ids
    for prediction in predictions:
        if not np.array_equal(prediction.ids, ids):
            raise UserError(f"{prediction.path}: its test images differ from those of {predictions[0].path}")
    parts = []
    for needs, made, compute, reference, settings in (
        ("images", "images", _on_images, (stimuli, true_features), evaluation),
        ("retrieval", "retrieval", _on_retrieval, embeddings, pools),
        ("captions", "captions", _on_captions, (stimuli, captioned, true_features), evaluation),
        ("brain", "images", _on_brain, (measured, see), evaluation),
        ("retrieval", "responses", _on_repeats, None, pools),
        ("brain", "responses", _brain_on_repeats, measured, evaluation),
    ):
        wanted = {name: m for name, m in metrics.items() if m["needs"] == needs}
        having = [p for p in predictions if getattr(p, made) is not None]
        if made == "images":
            having = [sample for prediction in having for sample in prediction.by_sample]
        if wanted and having:
            for prediction, metric, values, pairs in compute(having, wanted, reference, networks, settings):
                see_pairs(prediction, metric, pairs)
                identity = {key: prediction.metadata[key] for key in IDENTITY if key != "split_sha256"}
                rows = ids if np.ndim(values) else [WHOLE_SET]
                columns = {"metric": metric, "image_id": rows, "value": np.atleast_1d(values).astype(np.float64)}
                parts.append(pd.DataFrame({**identity, **columns}))
    if not parts:
        raise UserError(f"metrics: none of {', '.join(metrics)} can be computed from {predictions[0].path}")
    table = pd.concat(parts, ignore_index=True)
    if any(prediction.samples is not None for prediction in predictions):
        keys = [column for column in table.columns if column != "value"]
        return table.groupby(keys, sort=False, as_index=False)["value"].mean()
    return table


Pairs = Callable[[], np.ndarray] | None
Found = Iterator[tuple[Prediction, str, np.ndarray | float, Pairs]]


def _pairs(metric: dict, *given, **parameters) -> Pairs:
    """What makes the values of all pairs by a metric, from what its function takes."""
    function = PAIRS.get(metric["function"])
    return None if function is None else partial(function, *given, **parameters)


def _on_images(
    predictions: list[Prediction],
    metrics: dict,
    shown: tuple[Stimuli, Mapping[str, Features]],
    networks: Networks,
    sizes: dict,
) -> Found:
    stimuli, true_features = shown
    truth = stimuli.images[stimuli.rows(predictions[0].ids)]
    on_pixels = {name: ON_PIXELS[m["function"]] for name, m in metrics.items() if m["function"] in ON_PIXELS}
    if on_pixels:
        for prediction, values in _pixel_values(on_pixels, truth, predictions, sizes):
            for name in on_pixels:
                shapes = {"size": sizes["size"], "pixel_size": sizes["pixel_size"], "antialias": sizes["antialias"]}
                yield prediction, name, values[name], _pairs(metrics[name], truth, prediction.images, **shapes)

    for name, m in metrics.items():
        if m["function"] in ON_PAIRS:
            network = networks.perceptual(m["network"])
            for prediction in predictions:
                yield prediction, name, _distances(network, truth, prediction.images, sizes), None

    on_features = {name: m for name, m in metrics.items() if m["function"] in ON_FEATURES}
    for network_name in dict.fromkeys(m["network"] for m in on_features.values()):
        by_layer = {name: m for name, m in on_features.items() if m["network"] == network_name}
        network = networks.features(network_name, sorted({m["layer"] for m in by_layer.values()}))
        for prediction in predictions:
            found = features_of(prediction.images, network, sizes["size"], sizes["antialias"])
            for name, m in by_layer.items():
                pair = true_features[network_name].of(m["layer"], prediction.ids), found[m["layer"]]
                given = m.get("parameters", {})
                yield prediction, name, ON_FEATURES[m["function"]](*pair, **given), _pairs(m, *pair, **given)


def _on_retrieval(
    predictions: list[Prediction], metrics: dict, embeddings: Embeddings, networks: Networks, pools: dict
) -> Found:
    ids = predictions[0].ids
    tokens = np.asarray(embeddings.tokens[embeddings.rows(ids)]).reshape(len(ids), -1)
    for prediction in predictions:
        if prediction.retrieval.shape != tokens.shape:
            raise UserError(
                f"{prediction.path / 'retrieval.npy'}: {prediction.retrieval.shape[1]} dimensions, but the true "
                f"tokens in {embeddings.path} have {tokens.shape[1]}; score it with the encoder it was made for"
            )
        for name, m in metrics.items():
            found = _retrieval(m, tokens, prediction.retrieval, pools)
            yield prediction, name, found, _pairs(m, tokens, prediction.retrieval, *_pool(m, tokens, pools))


def _retrieval(metric: dict, truth: np.ndarray, decoded: np.ndarray, pools: dict) -> np.ndarray:
    return ON_RETRIEVAL[metric["function"]](truth, decoded, *_pool(metric, truth, pools))


def _pool(metric: dict, truth: np.ndarray, pools: dict) -> tuple[int, int, int | None]:
    """Size of a pool, number of pools, and ways."""
    parameters = metric.get("parameters", {})
    whole = parameters.get("pool") == "all"
    return *((len(truth), 1) if whole else (pools["pool"], pools["resamples"])), parameters.get("ways")


def _on_captions(
    predictions: list[Prediction],
    metrics: dict,
    described: tuple[Stimuli, pd.DataFrame | None, Mapping[str, Features]],
    networks: Networks,
    settings: dict,
) -> Found:
    stimuli, captioned, true_features = described
    ids = predictions[0].ids
    for name, m in metrics.items():
        options = dict(m.get("parameters", {}))
        every = _references(options.pop("references"), stimuli, captioned, ids)
        rows = np.array([row for row, several in enumerate(every) if several is not None], int)
        references = [every[row] for row in rows]
        if m["function"] in BY_TEXT_VECTORS and len(rows):
            options["encode"] = networks.texts(m["network"])
            if m["layer"]:
                options["pictures"] = true_features[m["network"]].of(m["layer"], ids[rows])
        elif m["network"] is not None and len(rows):
            options["wordnet"] = networks.wordnet(m["network"])
        for prediction in predictions:
            captions_of = prediction.captions["caption"].fillna("").iloc[rows].tolist()
            values = np.full(len(ids), np.nan)
            if len(rows):
                values[rows] = ON_CAPTIONS[m["function"]](references, captions_of, **options)
            yield prediction, name, values, _pairs(m, references, captions_of, **options) if len(rows) else None


def _references(kind: str, stimuli: Stimuli, captioned: pd.DataFrame | None, ids: np.ndarray) -> list[list[str] | None]:
    """Reference captions: those written by people (`first` or `all`), or the captioner's caption of the true image.

    None for an image of which no one wrote any: its score is not defined.
    """
    if kind == "captioner":
        rows = rows_of(ids, captioned["image_id"].to_numpy(), "captions of the true images")
        return [[text] for text in captioned["caption"].iloc[rows]]
    written = stimuli.captions
    every = [written[row] for row in stimuli.rows(ids)]
    lacking = [i for i, several in zip(ids, every, strict=True) if several is not None and not several]
    if lacking:
        raise UserError(f"{stimuli.path}: image_id {lacking[0]} has no caption ({len(lacking)} images lack one)")
    return [several and several[:1] for several in every] if kind == "first" else every


def _on_brain(
    predictions: list[Prediction],
    metrics: dict,
    judged: tuple[brain.MeasuredBrain, Callable],
    networks: Networks,
    settings: dict,
) -> Found:
    measured, see = judged
    here = measured.on(predictions[0].ids)
    for prediction in predictions:
        predicted = here.predict(prediction.images)
        see(prediction, here, predicted)
        for name, m in metrics.items():
            found = ON_BRAIN[m["function"]](here, predicted, **m["parameters"])
            yield prediction, name, found, _pairs(m, here, predicted, **m["parameters"])


def _halves(prediction: Prediction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of images shown more than once, their first responses and the means of the others, float32."""
    responses = np.asarray(prediction.responses, np.float32)
    rows = np.flatnonzero(np.isfinite(responses).all(axis=(1, 2)))
    return rows, responses[rows, 0], responses[rows, 1]


def _on_repeats(
    predictions: list[Prediction], metrics: dict, reference: None, networks: Networks, pools: dict
) -> Found:
    """Identification of images by brain responses alone: the first response takes the role of the decoded vector and
    the mean of the other responses that of the image. Similarity is the correlation over voxels (the cosine of centred
    patterns), as in Kay et al., Nature 452, 352 (2008). NaN for an image shown once."""
    for prediction in predictions:
        rows, first, others = _halves(prediction)
        first, others = (half - half.mean(axis=1, keepdims=True) for half in (first, others))
        for name, m in metrics.items():
            values = np.full(len(prediction.ids), np.nan)
            values[rows] = _retrieval(m, others, first, pools)
            yield prediction, name, values, _pairs(m, others, first, *_pool(m, others, pools))


def _brain_on_repeats(
    predictions: list[Prediction],
    metrics: dict,
    measured: brain.MeasuredBrain,
    networks: Networks,
    settings: dict,
) -> Found:
    """The first response takes the role of the predicted betas, and the mean of the others that of the measured ones.
    Scores that are divided by a noise ceiling are left out, because this is itself a ceiling (of a noisier
    prediction). NaN for an image shown once."""
    for prediction in predictions:
        rows, first, others = _halves(prediction)
        here = replace(measured.on(prediction.ids[rows]), betas=others)
        for name, m in metrics.items():
            if m["parameters"]["normalised"]:
                continue
            values = ON_BRAIN[m["function"]](here, first, **m["parameters"])
            if np.ndim(values):
                values, found = np.full(len(prediction.ids), np.nan), values
                values[rows] = found
            yield prediction, name, values, _pairs(m, here, first, **m["parameters"])


def _pixel_values(
    functions: dict, truth: np.ndarray, predictions: list[Prediction], evaluation: dict
) -> Iterator[tuple[Prediction, dict[str, np.ndarray]]]:
    """Metrics on pixels, block by block, so that 1,000 images of 425 pixels are never in memory at once."""
    sizes, antialias = (evaluation["size"], evaluation["pixel_size"]), evaluation["antialias"]
    values = {id(p): {name: np.empty(len(truth)) for name in functions} for p in predictions}
    for start in range(0, len(truth), BLOCK_IMAGES):
        block = slice(start, start + BLOCK_IMAGES)
        true_pictures = resized_pictures(truth[block], *sizes, antialias=antialias)
        for prediction in predictions:
            pictures = resized_pictures(prediction.images[block], *sizes, antialias=antialias)
            for name, function in functions.items():
                values[id(prediction)][name][block] = function(true_pictures, pictures)
    return ((p, values[id(p)]) for p in predictions)


def _distances(network, truth: np.ndarray, images: np.ndarray, evaluation: dict) -> np.ndarray:
    """A network's distances of pairs of pictures, float64 (n,)."""
    blocks = [slice(start, start + BLOCK_IMAGES) for start in range(0, len(images), BLOCK_IMAGES)]
    size, antialias = evaluation["size"], evaluation["antialias"]
    pairs = ([resized_pictures(side[block], size, antialias=antialias) for side in (truth, images)] for block in blocks)
    return np.concatenate([network.distances(*pair) for pair in pairs])
