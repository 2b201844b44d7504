"""Settings of the sleeper."""

from pydantic import Field

from fmri2img.settings import base
from fmri2img.settings.base import Count, Weight
from fmri2img.training.configuration import Stage, TrainingSettings


class Finetuning(Stage):
    training: TrainingSettings = Field(
        TrainingSettings(epochs=2, batch=8, learning_rate=1e-2, precision="fp32", log_every=1),
        description="How it is trained.",
    )


class Settings(base.Settings):
    pause: Weight = Field(0.0, description="Seconds of each step.")
    memory_mb: Count = Field(0, description="Memory that the training holds.")
    nan_at: Count | None = Field(None, description="The step whose loss is not a number.")
    finetuning: Finetuning = Field(Finetuning(), description="Training.")
