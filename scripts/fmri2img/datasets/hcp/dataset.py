"""HCP with a study's settings: simulated, or a copy that the user has."""

from functools import cached_property
from pathlib import Path
from typing import Any

from fmri2img.datasets.dataset import FolderDataset, Sizes, check_folder
from fmri2img.datasets.hcp.settings import terms_not_accepted
from fmri2img.datasets.inventory import MADE, PLACED, Source
from fmri2img.errors import UserError

FILE = "HCP_visual_voxel.npz"
REMEDY = "extract V1 to V4 of HCP's resting state into such files, one for each subject"
FIRST_SUBJECT = 100001  # of the simulation; HCP's subjects have six digits too


def _holds(folder: Path) -> bool:
    return any(any(folder.glob(f"{depth}/{FILE}")) for depth in ("*", "*/*"))


class Dataset(FolderDataset):
    """HCP: a pool of recordings without pictures."""

    @cached_property
    def files(self) -> dict[str, Path]:
        """Subject -> its file, at any depth below its folder; the first one where a subject has several runs."""
        if self.simulated:
            names = [str(FIRST_SUBJECT + number) for number in range(self.settings.simulation.subjects)]
            return {name: self.root / name / FILE for name in names}
        found: dict[str, Path] = {}
        for path in sorted(self.root.glob(f"*/**/{FILE}")):
            parts = path.relative_to(self.root).parts
            found.setdefault(parts[1] if parts[0] == "npz" else parts[0], path)
        return found

    @property
    def sessions(self) -> dict[str, int]:
        """Subject -> 1: a subject has one recording."""
        return dict.fromkeys(self.files, 1)

    def inventory(self, study: Any) -> list[Source]:
        if self.simulated:
            return [Source("the simulated resting state", [self.root], MADE, "the simulator")]
        files = list(self.files.values()) or [self.root / f"<subject>/{FILE}"]
        return [Source("resting state, V1 to V4", files, PLACED, REMEDY)]

    def check(self, study: Any) -> None:
        """Check that there are files. Raises UserError."""
        if self.simulated:
            return
        check_folder("hcp.root", self.root, _holds, "correct the path, or leave hcp out of pools")
        if not self.files:
            raise UserError(f"{self.root}: no folder of a subject with {FILE}; {REMEDY}, or leave hcp out of pools")

    def check_terms(self) -> None:
        if not self.simulated and not self.settings.terms_accepted:
            raise terms_not_accepted()

    def bytes_of(self, study: Any) -> dict[Path, int]:
        """Bytes of the recordings (float32)."""
        sizes = Sizes.read(self.record["sizes"])
        one = self.settings.simulation
        if self.simulated:
            sizes = sizes.model_copy(update={"voxels": one.voxels, "session_trials": one.volumes})
        return {Path("results", study.name): 4 * len(self.files) * sizes.session_trials * sizes.voxels}
