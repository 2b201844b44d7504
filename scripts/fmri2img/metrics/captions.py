"""Metrics on captions: a sentence for each image against the sentences people wrote about it.

references: list (images) of lists of sentences; captions: list (images) of one sentence each. With several references a
word metric is that of the best one (as METEOR and ROUGE define it), and so is a cosine (as in RefCLIPScore). A caption
without a word in it scores 0 everywhere: it is a failure to describe, never left out. All return float64 (images,).

The word metrics are modules of Hugging Face's `evaluate` (evaluate_modules/), which anyone can load by path. Here their
classes are used directly, because `evaluate.load` copies a module into a cache in the home directory first. Each is
imported where it is used: `evaluate` takes seconds to import, and most predictions have no captions.
"""

import importlib
import shutil
import tempfile

import numpy as np

from fmri2img.errors import UserError


def rouge(references: list[list[str]], captions: list[str], variant: str) -> np.ndarray:
    """F-measure of `rouge1`, `rouge2` or `rougeL`, lower-cased and unstemmed."""
    from fmri2img.metrics.evaluate_modules.rouge.rouge import Rouge

    return np.array(_compute(Rouge, references, captions)[variant])


def meteor(references: list[list[str]], captions: list[str], wordnet: str | None = None) -> np.ndarray:
    """METEOR; wordnet: directory of WordNet 3.0's files. Without it no synonyms are matched, and values are lower."""
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
    return np.where([any(c.isalnum() for c in one) for one in captions], values, 0.0)


def cider(references: list[list[str]], captions: list[str]) -> np.ndarray:
    """CIDEr-D (Vedantam et al., CVPR 2015); its word weights come from the references of all images scored.

    Raises UserError when the optional package pycocoevalcap or Java is missing.
    """
    return _coco("cider.cider", "Cider", references, captions)


def spice(references: list[list[str]], captions: list[str]) -> np.ndarray:
    """SPICE (Anderson et al., ECCV 2016). Raises UserError when pycocoevalcap or Java is missing."""
    return np.array([found["All"]["f"] for found in _coco("spice.spice", "Spice", references, captions)], np.float64)


def _coco(module: str, name: str, references: list[list[str]], captions: list[str]) -> np.ndarray:
    try:
        scorer = getattr(importlib.import_module(f"pycocoevalcap.{module}"), name)()
        tokenizer = importlib.import_module("pycocoevalcap.tokenizer.ptbtokenizer").PTBTokenizer
    except ImportError as error:
        raise UserError(
            f"metrics: {name} needs the Python package pycocoevalcap; `pip install pycocoevalcap`, or take it out of "
            "`metrics`"
        ) from error
    if shutil.which("java") is None:
        raise UserError(f"metrics: {name} needs Java, and there is no `java` on the path; install a Java runtime")
    sides = references, [[one] for one in captions]
    truth, found = (
        tokenizer().tokenize({i: [{"caption": text} for text in texts] for i, texts in enumerate(side)})
        for side in sides
    )
    return scorer.compute_score(truth, found)[1]
