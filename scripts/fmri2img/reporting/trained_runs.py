"""Stored trained networks, with the records of their training."""

from dataclasses import dataclass
from pathlib import Path

from fmri2img.artifacts.tables import read_json
from fmri2img.errors import UserError
from fmri2img.integrity import again

PRETRAINING, FINE_TUNING, NOT_PRETRAINED = "pretraining", "fine-tuning", "from scratch"


@dataclass(frozen=True)
class TrainedRun:
    """One stored training. path: the decoder's directory; stage: pretraining, fine-tuning or from scratch; config: its
    config.json; training: its training.json."""

    path: Path
    stage: str
    config: dict
    training: dict

    @classmethod
    def open(cls, path: str | Path, pretraining: bool = False) -> "TrainedRun":
        """Read the records of a stored decoder, or pretraining. Raises UserError where one or a key is missing."""
        path = Path(path)
        config, training = read_json(path / "config.json"), read_json(path / "training.json")
        for name, record, keys in (
            ("config.json", config, ("model", "voxels", "metadata")),
            ("training.json", training, ("config", "steps", "seconds", "processes", "validation", "versions")),
        ):
            for key in keys:
                if key not in record:
                    raise UserError(f"{path / name}: key '{key}' is missing; {again(path)}")
        if config["metadata"]["initial"] is not None:
            stage = FINE_TUNING
        else:
            stage = PRETRAINING if pretraining else NOT_PRETRAINED
        return cls(path, stage, config, training)

    @property
    def sessions(self) -> dict[str, int | float]:
        return self.config["metadata"]["sessions"]

    @property
    def seed(self) -> int:
        return self.training["config"]["training"]["seed"]

    @property
    def values(self) -> dict:
        """What differs between the runs of a method: counts, seconds, and the last validation's metrics."""
        counts = {key: self.config["metadata"][key] for key in ("trials", "images", "held_out_images")}
        return counts | {key: self.training[key] for key in ("steps", "seconds")} | self.training["validation"]
