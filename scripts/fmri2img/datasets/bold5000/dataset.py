"""BOLD5000 with a study's settings: simulated, or a copy that the user has."""

from pathlib import Path
from typing import Any

from fmri2img.datasets.bold5000 import layout
from fmri2img.datasets.dataset import FolderDataset, Sizes, check_folder
from fmri2img.datasets.inventory import MADE, PLACED, Source
from fmri2img.errors import UserError


def _holds(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in (layout.STIMULI, Path(layout.BETAS).parts[0]))


class Dataset(FolderDataset):
    """BOLD5000. root: folder of the published folders."""

    @property
    def stimuli(self) -> Path:
        return self.root / layout.STIMULI

    @property
    def sessions(self) -> dict[str, int]:
        """Sessions of each subject: those in the presentation lists, where the lists are there."""
        if self.simulated:
            one = self.settings.simulation
            return dict.fromkeys(layout.SUBJECTS[: one.subjects], one.sessions)
        listed = {name: len(layout.session_folders(self.stimuli, name)) for name in super().sessions}
        return {name: listed[name] or number for name, number in super().sessions.items()}

    def betas(self, subject: str) -> list[Path]:
        """Files of a subject's betas, one per region and hemisphere."""
        if self.simulated:
            return [self.root / layout.betas(subject, r, h) for r in layout.REGIONS for h in layout.HEMISPHERES]
        return list(layout.find_betas(self.root, subject, self.settings.betas.version).values())

    def inventory(self, study: Any) -> list[Source]:
        if self.simulated:
            return [Source("the simulated BOLD5000", [self.root], MADE, "the simulator")]
        found = []
        for subject in study.recorded:
            files = self.betas(subject) or [
                self.root / layout.BETAS / f"{subject}_GLMbetas-{self.settings.betas.version}"
            ]
            found.append(
                Source(f"betas of {subject}", files, PLACED, self._remedy(layout.BETAS), layout.SUBJECT_GIGABYTES)
            )
        return [*found, Source("pictures and presentation lists", [self.stimuli], PLACED, self._remedy(layout.STIMULI))]

    def _remedy(self, part: str) -> str:
        archive, address = layout.ARCHIVES[part]
        return f"download {archive} from {address} and unpack it in {self.root}"

    def check(self, study: Any) -> None:
        """Check that the user's files are in place. Raises UserError."""
        if self.simulated:
            return
        check_folder("bold5000.root", self.root, _holds, f"correct the path, or download from {layout.BETAS_ADDRESS}")
        for subject in study.recorded:
            found = layout.find_betas(self.root, subject, self.settings.betas.version)
            lacking = [region for region in layout.REGIONS if not any((region, h) in found for h in layout.HEMISPHERES)]
            if lacking:
                name = layout.betas(subject, lacking[0], "LH", self.settings.betas.version)
                raise UserError(f"{self.root / name}: no such file; {self._remedy(layout.BETAS)}")
            if not layout.session_folders(self.stimuli, subject):
                where = self.stimuli / layout.LISTS / subject
                raise UserError(f"{where}: no presentation lists; {self._remedy(layout.STIMULI)}")

    def sizes(self, study: Any) -> Sizes:
        if not self.simulated:
            return super().sizes(study).model_copy(update={"image_size": self.settings.image_size})
        one = self.settings.simulation
        return Sizes(
            images=one.trials - one.repeated * (one.repeats - 1),
            image_size=self.settings.image_size,
            test_images=one.repeated,
            session_trials=one.runs_per_session * one.trials_per_run,
            voxels=one.voxels,
        )
