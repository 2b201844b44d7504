"""The word-level tokenizer of the demo's text networks: every word that a caption of a drawn scene can contain."""

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from fmri2img.datasets.scenes import CATEGORIES, COLOURS, NUMBERS, SETTINGS

SPECIAL = ("[PAD]", "[BOS]", "[EOS]", "[UNK]")
PAD, BOS, EOS, UNK = range(4)
GRAMMAR = (
    "a an and there is are we see picture photo drawing view of large big small little on the left right in middle"
)


def words() -> list[str]:
    """All words of the caption grammar, sorted, without the special tokens."""
    phrases = [phrase for setting in SETTINGS.values() for phrase in setting]
    singular = " ".join([GRAMMAR, *COLOURS, *CATEGORIES, *NUMBERS.values(), *phrases]).split()
    plural = [f"{name.split()[-1]}{ending}" for name in CATEGORIES for ending in ("s", "es")]
    return sorted({*singular, *plural, ".", ","})


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Tokenizer that lower-cases, splits at spaces and punctuation, and wraps a sentence in [BOS] and [EOS]."""
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *words()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", BOS), ("[EOS]", EOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        bos_token="[BOS]",
        eos_token="[EOS]",
        unk_token="[UNK]",
        cls_token="[BOS]",
        sep_token="[EOS]",
        clean_up_tokenization_spaces=True,
    )


def encode(tokenizer, sentences, context: int) -> np.ndarray:
    """Token ids (sentences, context) int16, cut or filled with [PAD]."""
    encoded = tokenizer(list(sentences), max_length=context, padding="max_length", truncation=True)
    return np.asarray(encoded["input_ids"], np.int16)
