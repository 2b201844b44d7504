"""Settings of the nearest responses."""

from pydantic import Field

from fmri2img.settings import base


class Settings(base.Settings):
    neighbours: int = Field(20, ge=1, description="Training trials whose image tokens are averaged.")
