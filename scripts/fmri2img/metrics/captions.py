"""Metrics on captions: one sentence for each image against the sentences that people wrote about it.

references: list (images) of lists of sentences; captions: list (images) of one sentence each. With several references,
a word metric or a cosine is that of the best one (as defined by METEOR and ROUGE, and as in RefCLIPScore). A caption
without any word scores 0 everywhere: it is a failed description and is never left out. All functions return float64
(images,).

The word metrics are modules of Hugging Face's `evaluate` (evaluate_modules/), which anyone can load by path. Here their
classes are used directly, because `evaluate.load` copies a module into a cache in the home directory first. Each is
imported where it is used, because `evaluate` takes seconds to import and most predictions have no captions. The modules
of `evaluate` itself are fetched from the network when they are loaded. torchmetrics takes 0.5 (BLEU) to 0.8 (ROUGE)
times as long, one second for 1,000 captions. But its BLEU differs (it splits words and smooths differently), and its
ROUGE is that of the package used here in single precision.
"""

import importlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from fmri2img.errors import UserError


def rouge(references: list[list[str]], captions: list[str], variant: str) -> np.ndarray:
    """F-measure of `rouge1`, `rouge2` or `rougeL`, lower-cased and unstemmed."""
    from fmri2img.metrics.evaluate_modules.rouge.rouge import Rouge

    return np.array(_compute(Rouge, references, captions)[variant])


def meteor(references: list[list[str]], captions: list[str], wordnet: str | None = None) -> np.ndarray:
    """METEOR; wordnet: directory of WordNet 3.0's files. Without it, no synonyms are matched and values are lower."""
    from fmri2img.metrics.evaluate_modules.meteor.meteor import Meteor

    return np.array(_compute(Meteor, references, captions, wordnet=wordnet)["meteor"])


def bleu(references: list[list[str]], captions: list[str], order: int) -> np.ndarray:
    """Smoothed BLEU of each sentence, up to `order` words in a row; its mean is not a corpus BLEU."""
    from fmri2img.metrics.evaluate_modules.bleu.bleu import Bleu

    return np.array(_compute(Bleu, references, captions, order=order)["bleu"])


def _compute(module, references: list[list[str]], captions: list[str], **options) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as folder:
        return module(keep_in_memory=True, cache_dir=folder).compute(
            predictions=captions, references=references, **options
        )


def text_cosine(references: list[list[str]], captions: list[str], encode) -> np.ndarray:
    """Largest cosine between the encodings of a caption and of its references.

    encode: list of sentences -> float (sentences, dimensions), l2-normalised; called once for each distinct sentence.
    """
    sentences = list(dict.fromkeys([*captions, *(text for several in references for text in several)]))
    row = {text: i for i, text in enumerate(sentences)}
    vectors = np.asarray(encode(sentences), np.float64)
    values = [
        max(float(vectors[row[one]] @ vectors[row[text]]) for text in several)
        for several, one in zip(references, captions, strict=True)
    ]
    return np.where(worded(captions), values, 0.0)


PREFIX, WEIGHT = "A photo depicts ", 2.5  # of CLIPScore, section 3


def clip_score(references: list[list[str]], captions: list[str], encode, pictures: np.ndarray) -> np.ndarray:
    """CLIPScore (Hessel et al., EMNLP 2021): a caption against the picture itself, in 0..2.5. references: not used.

    encode: as in `text_cosine`; pictures: float (images, dimensions), the same network's vectors of the true images.
    """
    vectors = np.asarray(encode([PREFIX + one for one in captions]), np.float64)
    seen = np.asarray(pictures, np.float64)
    cosines = (vectors * seen).sum(1) / np.linalg.norm(seen, axis=1)
    return np.where(worded(captions), WEIGHT * cosines.clip(min=0), 0.0)


def ref_clip_score(references: list[list[str]], captions: list[str], encode, pictures: np.ndarray) -> np.ndarray:
    """RefCLIPScore: the harmonic mean of CLIPScore and of the largest cosine to a reference, both at least 0."""

    def prefixed(sentences: list[str]) -> np.ndarray:
        return encode([PREFIX + one for one in sentences])

    seen = clip_score(references, captions, encode, pictures)
    read = text_cosine(references, captions, prefixed).clip(min=0)
    return np.divide(2 * seen * read, seen + read, out=np.zeros(len(seen)), where=seen + read > 0)


def worded(captions: list[str]) -> list[bool]:
    """Which captions hold a word at all."""
    return [any(character.isalnum() for character in one) for one in captions]


def cider(references: list[list[str]], captions: list[str]) -> np.ndarray:
    """CIDEr-D (Vedantam et al., CVPR 2015); its word weights come from the references of all scored images.

    Raises UserError when the optional package pycocoevalcap or Java is missing.
    """
    return np.asarray(_coco("CIDEr", "cider.cider", "Cider", references, captions), np.float64)


def spice(references: list[list[str]], captions: list[str]) -> np.ndarray:
    """SPICE (Anderson et al., ECCV 2016). Raises UserError when pycocoevalcap, Java or Stanford's parser is missing."""
    stored = _coco_module("SPICE", "spice.get_stanford_models")
    folder = Path(stored.SPICEDIR) / stored.SPICELIB
    for name in (
        f"{stored.JAR}.jar",
        f"{stored.JAR}-models.jar",
    ):  # otherwise the package fetches them in the middle of a job
        if not (folder / name).is_file():
            raise UserError(
                f"metrics: SPICE needs {name} of Stanford CoreNLP in {folder}; run `python -m "
                "pycocoevalcap.spice.get_stanford_models` where the network is reachable"
            )
    try:
        return np.array([found["All"]["f"] for found in _coco("SPICE", "spice.spice", "Spice", references, captions)])
    except subprocess.CalledProcessError as error:
        raise UserError(
            "metrics: SPICE's Java program failed with the message above; it was written for Java 8, so put that first "
            "on the path"
        ) from error


def _coco_module(metric: str, name: str):
    """A module of the optional package, which runs Java."""
    try:
        module = importlib.import_module(f"pycocoevalcap.{name}")
    except ImportError as error:
        raise UserError(
            f"metrics: {metric} needs the Python package pycocoevalcap; `pip install pycocoevalcap`, or remove it from "
            "`metrics`"
        ) from error
    if shutil.which("java") is None:
        raise UserError(f"metrics: {metric} needs Java, and there is no `java` on the path; install a Java runtime")
    return module


def _coco(metric: str, module: str, name: str, references: list[list[str]], captions: list[str]) -> list:
    scorer = getattr(_coco_module(metric, module), name)()
    tokenizer = _coco_module(metric, "tokenizer.ptbtokenizer").PTBTokenizer
    sides = references, [[one] for one in captions]
    truth, found = (
        tokenizer().tokenize({i: [{"caption": text} for text in texts] for i, texts in enumerate(side)})
        for side in sides
    )
    return scorer.compute_score(truth, found)[1]
