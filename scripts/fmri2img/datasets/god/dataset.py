"""GOD with a study's settings: simulated, a copy that the user has, or downloaded."""

import math
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fmri2img.datasets.dataset import FolderDataset, Sizes, check_folder
from fmri2img.datasets.god import layout
from fmri2img.datasets.inventory import DOWNLOADED, MADE, PLACED, Source
from fmri2img.errors import UserError


class Dataset(FolderDataset):
    """GOD. root: folder of the files of either release."""

    @property
    def sessions(self) -> dict[str, int]:
        """Sessions of training runs. The .npz release has no runs, so all trials of a subject are one session."""
        subjects = layout.SUBJECTS[: self.settings.simulation.subjects] if self.simulated else layout.SUBJECTS
        return dict.fromkeys(subjects, 1 if self.settings.files == layout.NPZ else self.settings.sessions)

    @property
    def pictures(self) -> list[Path]:
        """What the pictures are read from: their file or folder, and lists of their names where there are some."""
        listed = [self.root / name for found in layout.LISTS.values() for name in found]
        return [self.root / self.settings.images, *(path for path in listed if path.is_file())]

    def responses(self, subject: str) -> Path:
        return self.root / layout.responses(subject, self.settings.files)

    def check(self, study: Any) -> None:
        """Check that the files which are not made or downloaded here are in place. Raises UserError."""
        if self.simulated:
            return
        if not self.downloads:
            check_folder("god.root", self.root, self._holds, "correct the path, or set god.source to download")
        images = self.root / self.settings.images
        if not images.exists() and not (self.downloads and self.settings.images in layout.ADDRESSES):
            raise UserError(
                f"{images}: no such file or folder; {self._pictures_remedy}; god.root and god.images name it"
            )
        for subject in [] if self.downloads else study.recorded:
            if not self.responses(subject).is_file():
                where = layout.ADDRESSES[layout.responses(subject, self.settings.files)]
                raise UserError(
                    f"{self.responses(subject)}: no such file; download it from {where} to there, or set god.source to "
                    "download"
                )

    def inventory(self, study: Any) -> list[Source]:
        if self.simulated:
            return [Source("the simulated GOD", [self.root], MADE, "the simulator")]
        found = []
        for subject in study.recorded:
            path = self.responses(subject)
            address, way = layout.ADDRESSES[path.name], DOWNLOADED if self.downloads else PLACED
            origin = f"{urlsplit(address).hostname} (key god.source: download)"
            if not self.downloads:
                origin = f"download it from {address}, or set god.source to download"
            found.append(Source(f"responses of {subject}", [path], way, origin, layout.GIGABYTES[self.settings.files]))
        images = self.root / self.settings.images
        if self.downloads and self.settings.images in layout.ADDRESSES:
            origin = f"{urlsplit(layout.ADDRESSES[self.settings.images]).hostname} (key god.source: download)"
            found.append(Source("pictures", [images], DOWNLOADED, origin))
        else:
            found.append(Source("pictures", [images], PLACED, self._pictures_remedy))
        return found

    def _holds(self, folder: Path) -> bool:
        names = [layout.responses(subject, self.settings.files) for subject in layout.SUBJECTS]
        return any((folder / name).is_file() for name in names)

    @property
    def downloads(self) -> bool:
        return self.settings.source == "download"

    @property
    def _pictures_remedy(self) -> str:
        return (
            f"request the pictures at {layout.PICTURES_FORM} and put them there, or take images_256.npz from "
            f"MinD-Vis's data ({layout.MIND_VIS})"
        )

    def sizes(self, study: Any) -> Sizes:
        if not self.simulated:
            return super().sizes(study).model_copy(update={"image_size": self.settings.image_size})
        one = self.settings.simulation
        trained, tested = one.classes * one.pictures_per_class, one.test_classes * one.repeats
        sessions = next(iter(self.sessions.values()))
        return Sizes(
            images=trained + one.test_classes,
            image_size=one.image_size,
            test_images=one.test_classes,
            session_trials=math.ceil((trained + tested) / sessions),
            voxels=one.voxels,
        )
