"""Controls: what a decoder's scores must beat before they mean anything, and what they could reach.

Made from what a decoder made: `nearest_neighbour` shows the training image whose true tokens are nearest to the decoded
ones (no generator could do better by recall alone); `shuffled_brain` hands each test image the reconstruction of
another: the true chance level of every metric, including those that have no chance level on paper.

Made without a brain: `random_training_image` and `mean_training_image` know the training images and nothing else,
`prior_only` draws from the mean of their tokens. Ceilings that know the test image: `oracle_nearest_neighbour` shows
the training image nearest to its true tokens, the most that recall can reach; `caption_only` draws from its caption,
`caption_ceiling` is what the captioner says of it. `repeat_ceiling` decodes nothing: it is the brain against itself.
"""

import numpy as np

from fmri2img.artifacts.embeddings import Embeddings
from fmri2img.artifacts.prediction import Prediction, save_prediction
from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.errors import UserError
from fmri2img.linear.decoder import token_blocks


def control_metadata(
    recording: Recording, method: str, sessions: int | float, seed: int, encoder: str, generator: str, origin: str
) -> dict:
    """Metadata of a prediction that no brain response went into: no trials, no subjects to train on."""
    return {
        "method": method,
        "subject": recording.metadata["subject"],
        "sessions": sessions,
        "seed": seed,
        "split": recording.metadata["split"],
        "split_sha256": recording.metadata["split_sha256"],
        "disclosure": {
            "training_trials": 0,
            "training_subjects": [],
            "trial_averaging": "none",
            "test_averaging": "none",
            "transductive": False,
            "samples_per_image": 1,
            "selector": "none",
            "encoder": encoder,
            "generator": generator,
            "origin": origin,
        },
    }


def drawn_training_images(test_ids: np.ndarray, training_ids: np.ndarray, seed: int) -> np.ndarray:
    """For each test image a training image at random: image_id int64 (test images,).

    The draw belongs to (seed, test image), and does not depend on which other images are tested. training_ids:
    unique, ascending.
    """
    draws = [np.random.default_rng([seed, int(i)]).integers(len(training_ids)) for i in test_ids]
    return training_ids[draws]


def mean_image(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean of some rows of images uint8 (images, h, w, 3), rounded: uint8 (h, w, 3). Holds one image at a time."""
    total = np.zeros(images.shape[1:])
    for row in rows:
        total += images[row]
    return np.rint(total / len(rows)).astype(np.uint8)


def mean_tokens(embeddings: Embeddings, training_ids: np.ndarray) -> np.ndarray:
    """Mean true tokens of the training images, float32 (tokens, width)."""
    _, n_tokens, width = embeddings.tokens.shape
    mean = np.empty(n_tokens * width, np.float32)
    for columns, block in token_blocks(embeddings.tokens, embeddings.rows(training_ids)):
        mean[columns] = block.mean(axis=0, dtype=np.float64)
    return mean.reshape(n_tokens, width)


def nearest_training_images(decoded: np.ndarray, embeddings: Embeddings, training_ids: np.ndarray) -> np.ndarray:
    """image_id of the training image nearest to each decoded row, as `nearest_with_cosine` finds it."""
    return nearest_with_cosine(decoded, embeddings, training_ids)[0]


def nearest_with_cosine(
    tokens: np.ndarray, embeddings: Embeddings, training_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The training image nearest to each row: image_id int64 (rows,), and how near, cosine float64 (rows,).

    tokens: (rows, tokens, width); training_ids: unique ids, all in `embeddings`. Near means a high cosine between the
    flattened tokens after the mean of the training images' true tokens is taken from both (what all images share says
    nothing about which is near). Equal cosines go to the lower id; a row that is the mean itself has cosine 0. Reads
    the training tokens once, in blocks.
    """
    training_ids = np.sort(training_ids)
    dots = np.zeros((len(tokens), len(training_ids)))
    norms, own = np.zeros(len(training_ids)), np.zeros(len(tokens))
    flat = tokens.reshape(len(tokens), -1)
    for columns, block in token_blocks(embeddings.tokens, embeddings.rows(training_ids)):
        mean = block.mean(axis=0)
        block -= mean
        deviations = flat[:, columns].astype(np.float32) - mean
        dots += deviations @ block.T
        norms += np.einsum("ij,ij->i", block, block)
        own += np.einsum("ij,ij->i", deviations, deviations)
    # A row's own norm does not change which image is nearest to it.
    cosines = np.divide(dots, np.sqrt(norms), out=np.full_like(dots, -np.inf), where=norms > 0)
    best = np.argmax(cosines, axis=1)
    highest = cosines[np.arange(len(tokens)), best]
    return training_ids[best], np.divide(highest, np.sqrt(own), out=np.zeros(len(tokens)), where=own > 0)


def repeat_responses(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """The brain's first response to each test image, and the mean of its responses to later presentations.

    Returns ids int64 (images,) ascending and betas float32 (images, 2, voxels), NaN for an image shown once. First is
    by time, among the test trials.
    """
    rows = recording.test_rows(recording.test_sets[0])
    trials = recording.trials.iloc[rows].assign(row=rows).sort_values(["image_id", "trial"])
    first = ~trials["image_id"].duplicated().to_numpy()
    ids, firsts = recording.averaged(trials["row"].to_numpy()[first])
    responses = np.full((len(ids), 2, firsts.shape[1]), np.nan, np.float32)
    if not first.all():
        repeated, others = recording.averaged(trials["row"].to_numpy()[~first])
        again = np.searchsorted(ids, repeated)
        responses[again, 0], responses[again, 1] = firsts[again], others
    return ids, responses


def derangement(n: int, seed: int) -> np.ndarray:
    """A random permutation int (n,) of n >= 2 elements that leaves none in its place, uniform over all such."""
    rng = np.random.default_rng(seed)
    while True:  # a random permutation is one with probability 1/e
        order = rng.permutation(n)
        if (order != np.arange(n)).all():
            return order


def shuffle_brains(prediction: Prediction, seed: int) -> dict:
    """Images, captions and retrieval vectors of a prediction, each row moved to another image's place.

    A reconstruction belongs to the brain response it was decoded from, so giving test image i the outputs made from
    response j is the decoder run on permuted test responses. The generator's noise travels with response j instead of
    staying with place i; it is independent of both, so the distribution is the same, and nothing is generated twice.
    Returns keyword arguments for `save_prediction`; raises UserError for a prediction of a single image.
    """
    if len(prediction.ids) < 2:
        raise UserError(f"{prediction.path}: holds one image, and shuffled_brain needs two; use a split with more")
    order = derangement(len(prediction.ids), seed)
    captions = None if prediction.captions is None else prediction.captions["caption"].to_numpy()[order].tolist()
    return {
        "images": None if prediction.images is None else prediction.images[order],
        "captions": captions,
        "retrieval": None if prediction.retrieval is None else prediction.retrieval[order],
    }


def save_training_images(
    path: str, ids: np.ndarray, shown: np.ndarray, stimuli: Stimuli, embeddings: Embeddings, metadata: dict
) -> None:
    """Write the Prediction that shows training image `shown` (image_id) for each test image, its tokens for retrieval."""
    images = stimuli.images[stimuli.rows(shown)]
    retrieval = embeddings.tokens[embeddings.rows(shown)].reshape(len(shown), -1)
    save_prediction(path, ids, metadata, images=images, retrieval=retrieval)
