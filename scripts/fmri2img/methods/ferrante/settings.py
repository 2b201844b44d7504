"""Settings of brain captioning."""

from typing import Annotated, Any, Literal

from pydantic import Field

from fmri2img.settings import base


class Settings(base.Settings):
    """Brain captioning: ridge to a captioner's image tokens (Ferrante et al.)."""

    captioner: Annotated[base.Name, base.Network("git")] = Field(
        "demo_captioner",
        description="The captioner that writes sentences from decoded tokens. The paper's: git_base_coco.",
    )
    encoder: Annotated[base.Name, base.Network("git", "open_clip")] = Field(
        "demo_clip",
        description="The network whose tokens it takes: the captioner itself where it has an image encoder.",
    )
    penalty: base.Penalty = Field(6e4, description="Penalty of the ridge regression.")
    calibration: Literal["training_images", "test_batch", "none"] = Field(
        "training_images",
        description="How predicted tokens get the mean and spread of true ones. The original's code takes both from "
        "the batch of test images (`test_batch`), which is transductive.",
    )

    def check(self, study: Any) -> None:
        """The captioner takes the tokens that are decoded."""
        captioner = study.registries["backbones"][self.captioner]
        taken = captioner.get("features", self.captioner)
        if self.encoder != taken:
            raise base.problem(
                "ferrante.encoder", f"{self.captioner} takes the tokens of {taken}, not of {self.encoder}; name {taken}"
            )
