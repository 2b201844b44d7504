"""From per-image values to estimates with their uncertainty."""

from fmri2img.stats.bootstrap import summarise

__all__ = ["summarise"]
