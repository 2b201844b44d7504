"""From per-image values to estimates with their uncertainty."""

from fmri2img.stats.bootstrap import Resampled, bootstrap_groups, image_values, summarise
from fmri2img.stats.correlation import rank_correlation
from fmri2img.stats.multiplicity import holm, tie_groups
from fmri2img.stats.permutation import compare_methods, sign_flip_test
from fmri2img.stats.scale import between_seed_sd, normalised_score

__all__ = [
    "Resampled", "between_seed_sd", "bootstrap_groups", "compare_methods", "holm", "image_values", "normalised_score",
    "rank_correlation", "sign_flip_test", "summarise", "tie_groups",
]  # fmt: skip
