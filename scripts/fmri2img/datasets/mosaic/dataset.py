"""MOSAIC with a study's settings: simulated, a copy that the user has, or downloaded."""

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from fmri2img.datasets.dataset import FolderDataset, Sizes, check_folder
from fmri2img.datasets.inventory import DOWNLOADED, MADE, PLACED, Source
from fmri2img.datasets.mosaic import layout
from fmri2img.errors import UserError
from fmri2img.settings.base import problem

VERTICES = {"visual": 7894, "cortex": 59_412}
FILTERED = "filtered"  # splits that are read from MOSAIC's lists begin so


class Dataset(FolderDataset):
    """MOSAIC. root: folder of its files, in the layout of its bucket or not.

    constituents: those of the study's subjects, once its files were listed (`inventory`) or checked (`check`).
    """

    constituents: Sequence[str] = ()

    @property
    def downloads(self) -> bool:
        return self.settings.source == "download"

    @property
    def pictures(self) -> Path:
        return Path(self.settings.pictures) if self.settings.pictures else self.root / layout.PICTURES

    @property
    def sessions(self) -> dict[str, int]:
        """Sessions that each subject's trials are dealt into."""
        subjects = self.settings.simulation.subjects if self.simulated else layout.SUBJECTS
        return dict.fromkeys(subjects, self.settings.sessions)

    @property
    def licence(self) -> dict:
        """The licences of the study's constituents, once they are known."""
        known = [f"{name}: {layout.CONSTITUENTS[name].licence}" for name in self.constituents]
        return super().licence if self.simulated or not known else super().licence | {"name": "; ".join(known)}

    def file(self, key: str) -> Path:
        """Path of a file. key: of layout.py. Simulated files and those to be downloaded are at `<root>/<key>`."""
        place = self.root / key
        return place if self.simulated or place.is_file() else self._files.get(place.name, place)

    @cached_property
    def _files(self) -> dict[str, Path]:
        return layout.files_below(self.root, self.pictures)

    def betas(self, subject: str) -> Path:
        return self.file(layout.betas(subject))

    def tables(self, subjects: list[str]) -> list[Path]:
        return [self.file(layout.table(name)) for name in layout.constituents_of(subjects)]

    def lists(self, split: str) -> dict[str, Path]:
        """Part -> list of MOSAIC's own split; none for the other splits."""
        if not split.startswith(FILTERED):
            return {}
        return {part: self.file(layout.filtered(part)) for part in layout.FILTERED}

    def keys(self, subjects: list[str], split: str) -> list[str]:
        """Keys of all files but the pictures."""
        lists = [layout.filtered(part) for part in layout.FILTERED] if self.lists(split) else []
        tables = [layout.table(name) for name in layout.constituents_of(subjects)]
        return [layout.PARCELS, *tables, *lists, *(layout.betas(name) for name in subjects)]

    def check(self, study: Any) -> None:
        """Check that the files which are not made or downloaded here are in place. Raises UserError."""
        self.constituents = used = layout.constituents_of(study.recorded)
        self._check_videos(used, study.recorded)
        split = study.config["split"]
        if split.endswith("artificial") and not any(layout.CONSTITUENTS[name].artificial for name in used):
            own = [name for name, one in layout.CONSTITUENTS.items() if one.artificial]
            what = f"has artificial images, which {', '.join(used)} has not ({', '.join(own)} have)"
            raise problem("split", f"{split} {what}; use {split.removesuffix('_artificial')}")
        if self.simulated:
            return
        if not self.downloads:
            self._check_copy(study.recorded, split)
        for name in used:
            folder = self._pictures_of(name)
            if not folder.is_dir():
                raise UserError(
                    f"{folder}: no such folder; MOSAIC has no pictures: get those of {name} from "
                    f"{layout.CONSTITUENTS[name].address} and put them there (mosaic.pictures)"
                )

    def _check_videos(self, used: list[str], subjects: list[str]) -> None:
        shown = [name for name in used if layout.CONSTITUENTS[name].videos]
        if shown and self.settings.videos == "refused":
            first = next(name for name in subjects if layout.constituent_of(name) in shown)
            raise problem(
                "subjects",
                f"{first} saw videos; leave the subjects of {' and '.join(shown)} out, or set mosaic.videos to "
                "middle_frame",
            )

    def _check_copy(self, subjects: list[str], split: str) -> None:
        keys = self.keys(subjects, split)

        def holds(folder: Path) -> bool:
            return any((folder / key).is_file() or (folder / Path(key).name).is_file() for key in keys)

        remedy = "correct the path, or set mosaic.source to download"
        if not any(self.file(key).is_file() for key in keys):
            check_folder("mosaic.root", self.root, holds, remedy)
        for key in keys:
            if not self.file(key).is_file():
                raise UserError(
                    f"{self.root / key}: no such file; download it from bucket {self.settings.bucket.bucket} to there, "
                    "or set mosaic.source to download"
                )

    def inventory(self, study: Any) -> list[Source]:
        self.constituents = layout.constituents_of(study.recorded)
        if self.simulated:
            return [Source("the simulated MOSAIC", [self.root], MADE, "the simulator")]
        way = DOWNLOADED if self.downloads else PLACED
        origin = f"bucket {self.settings.bucket.bucket} (key mosaic.source: download)"
        if not self.downloads:
            origin = f"download from bucket {self.settings.bucket.bucket}, or set mosaic.source to download"
        betas = [layout.betas(subject) for subject in study.recorded]
        others = [key for key in self.keys(study.recorded, study.config["split"]) if key not in betas]
        found = [
            Source("tables of stimuli, parcellation, lists", [self.file(key) for key in others], way, origin, 0.05)
        ]
        for subject in study.recorded:
            path, size = self.betas(subject), layout.gigabytes(subject)
            found.append(Source(f"betas of {subject}", [path], way, origin, size))
        for name in self.constituents:
            remedy = f"get them from {layout.CONSTITUENTS[name].address} and put them there"
            found.append(Source(f"pictures of {name}", [self._pictures_of(name)], PLACED, remedy))
        return found

    def _pictures_of(self, constituent: str) -> Path:
        """The folder of a constituent's pictures, or of the other one that has the same, where only that is there."""
        other = layout.CONSTITUENTS[constituent].same_pictures
        folders = [self.pictures / name for name in (constituent, other) if name is not None]
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    def check_terms(self) -> None:
        if self.downloads:
            check_terms(self.constituents, self.settings.terms_accepted)

    def sizes(self, study: Any) -> Sizes:
        subjects = study.recorded
        used = [layout.CONSTITUENTS[name] for name in layout.constituents_of(subjects)]
        if not self.simulated:
            count = {name: sum(layout.constituent_of(one) == name for one in subjects) for name in layout.CONSTITUENTS}
            images = sum(min(one.images, one.seen * count[name]) for name, one in layout.CONSTITUENTS.items())
            trials = max(layout.SUBJECTS[name] for name in subjects)
            changed = {"voxels": VERTICES[self.settings.vertices], "image_size": self.settings.image_size}
            changed |= {"images": images, "session_trials": math.ceil(trials / self.settings.sessions)}
            return super().sizes(study).model_copy(update=changed)
        one = self.settings.simulation
        return Sizes(
            images=len(used) * (one.training + 2 * one.tested),
            image_size=self.settings.image_size,
            test_images=one.tested,
            session_trials=math.ceil((one.training + 2 * one.tested * one.repeats) / self.settings.sessions),
            voxels=one.grayordinates,
        )


def check_terms(constituents: Sequence[str], accepted: list[str]) -> None:
    """Raise UserError when one of the constituents has an agreement of its own that is not accepted."""
    for constituent in constituents:
        terms = layout.CONSTITUENTS[constituent].terms
        if terms is not None and constituent not in accepted:
            raise problem(
                "mosaic.terms_accepted",
                f"lacks {constituent}; read and sign the {terms[0]} at {terms[1]}, then add {constituent} to the list",
            )
