"""Settings of ridge regression."""

from pydantic import Field

from fmri2img.settings import base


class Settings(base.Settings):
    """Linear decoding from betas to tokens, with a penalty."""

    alphas: base.Penalties = Field([1e3, 1e4, 2e4, 6e4, 1e5, 1e6], description="Penalties to choose from.")
    folds: base.Folds = Field(5, description="Folds of the cross-validation, grouped by image.")
