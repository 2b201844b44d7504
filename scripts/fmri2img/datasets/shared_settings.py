"""Settings that datasets share: whether files are simulated, and the bucket that they come from."""

from typing import Any, Self

from pydantic import Field, model_validator

from fmri2img.settings import base
from fmri2img.settings.base import Name


class S3Bucket(base.Settings):
    """A public S3 bucket. Datasets declare `bucket` and `region` with their defaults."""

    bucket: Name = Field(description="The S3 bucket.")
    region: Name = Field(description="Its region.")
    endpoint: Name | None = Field(None, description="URL of another S3 server, for a mirror, or null for Amazon's.")


class Simulable(base.Settings):
    """A dataset that may be simulated. Datasets declare the other values of `source`, and the type of `simulation`."""

    source: Any
    simulation: Any = None

    @model_validator(mode="after")
    def _simulation_is_described(self) -> Self:
        if self.source == "simulated" and self.simulation is None:
            raise base.WrongKey("simulation", "missing; source is 'simulated', so add the section")
        return self
