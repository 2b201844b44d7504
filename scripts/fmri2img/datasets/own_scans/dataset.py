"""Scans of a lab's own, with a study's settings."""

from pathlib import Path
from typing import Any

from fmri2img.datasets import dataset
from fmri2img.datasets.dataset import SIMULATED_LICENCE, Sizes, check_folder
from fmri2img.datasets.inventory import PLACED, Source
from fmri2img.datasets.own_scans import layout
from fmri2img.datasets.own_scans.settings import HELD_OUT
from fmri2img.errors import UserError

CHECK = "`make dataset FROM=folder` says what is there and what is wrong"
NOT_READ = ("title", "reference", "licence", "simulated", "sizes")  # what no file of the study depends on


class Dataset(dataset.Dataset):
    """A lab's own scans. root: folder of its files, which is only read."""

    @property
    def root(self) -> Path:
        return Path(self.settings.root)

    @property
    def title(self) -> str:
        return self.settings.title

    @property
    def simulated(self) -> bool:
        return self.settings.simulated

    @property
    def licence(self) -> dict:
        if self.settings.licence is not None:
            return self.settings.licence.to_dict()
        return SIMULATED_LICENCE if self.simulated else super().licence

    @property
    def sessions(self) -> dict[str, int]:
        return self.settings.sessions

    @property
    def further_subjects(self) -> str:
        return "; state the sessions of another subject in own_scans.sessions"

    @property
    def splits(self) -> dict[str, dict]:
        rule = self.settings.held_out
        clause = {
            "listed": "the pictures of a list",
            "repeated": f"the pictures that were shown {rule.repeats} times or more",
            "random": f"{rule.share:.0%} of the pictures, chosen at random",
        }
        return {HELD_OUT: {"description": clause[rule.rule], "test_sets": rule.test_sets, "sessions": None}}

    @property
    def regions(self) -> list[str]:
        return list(self.settings.voxels.regions)

    @property
    def has_captions(self) -> bool:
        return self.settings.pictures.captions is not None

    @property
    def image_sources(self) -> dict[str, list[str]]:
        return self.settings.pictures.sources

    @property
    def pictures(self) -> Path:
        return self.root / self.settings.pictures.folder

    @property
    def captions(self) -> list[str]:
        return [str(self.root / self.settings.pictures.captions)] if self.has_captions else []

    @property
    def lists(self) -> list[str]:
        return [str(self.root / file) for file in self.settings.held_out.lists.values()]

    def events(self, subject: str) -> list[Path]:
        """A subject's tables of events."""
        return [found.path for found in layout.find(self.root, self.settings.events.files, subject)]

    def betas(self, subject: str) -> list[Path]:
        """A subject's files of betas."""
        return [found.path for found in layout.find(self.root, self.settings.betas.files, subject)]

    def voxels(self, subject: str) -> list[Path]:
        """A subject's files of mask and regions."""
        voxels = self.settings.voxels
        patterns = [*([voxels.mask] if voxels.mask else []), *voxels.regions.values()]
        return [layout.one_file(self.root, pattern, subject) for pattern in patterns]

    def files(self, subject: str) -> list[Path]:
        """All of a subject's files."""
        return [*self.betas(subject), *self.events(subject), *self.voxels(subject)]

    @property
    def of_stimuli(self) -> dict:
        """The settings on which stimuli and split depend."""
        kept = {key: value for key, value in self._read.items() if key != "voxels"}
        return kept | {"betas": {"files": self.section["betas"]["files"]}}

    @property
    def of_recordings(self) -> dict:
        """The settings on which recordings depend."""
        return self._read

    @property
    def _read(self) -> dict:
        """The settings without those that are only reported."""
        pictures = {key: value for key, value in self.section["pictures"].items() if key != "sources"}
        return {key: value for key, value in self.section.items() if key not in NOT_READ} | {"pictures": pictures}

    def check(self, study: Any) -> None:
        """Check that the files of the study's subjects are there. Raises UserError."""
        folder = self.settings.pictures.folder
        check_folder("own_scans.root", self.root, lambda path: (path / folder).is_dir(), f"correct the path; {CHECK}")
        if not self.pictures.is_dir():
            raise UserError(f"{self.pictures}: no such folder; correct own_scans.pictures.folder; {CHECK}")
        for subject in study.recorded:
            for key, found in (("events", self.events(subject)), ("betas", self.betas(subject))):
                if not found:
                    pattern = self.section[key]["files"]
                    raise UserError(f"{layout.nothing_found(self.root, pattern, subject, key)}; {CHECK}")
            self._check_there(self.voxels(subject))
        self._check_there([Path(path) for path in (*self.captions, *self.lists)])

    def _check_there(self, paths: list[Path]) -> None:
        for path in paths:
            if not path.is_file():
                raise UserError(f"{path}: no such file; put it there, or correct its name in own_scans; {CHECK}")

    def inventory(self, study: Any) -> list[Source]:
        def source(what: str, files: list[Path], pattern: str, subject: str = "") -> Source:
            there = files or [self.root / pattern.replace("{subject}", subject)]
            size = sum(path.stat().st_size for path in files if path.is_file()) / 1e9
            return Source(what, there, PLACED, f"put your own there; {CHECK}", size or None)

        found = []
        for subject in study.recorded:
            found += [
                source(f"betas of {subject}", self.betas(subject), self.settings.betas.files, subject),
                source(f"events of {subject}", self.events(subject), self.settings.events.files, subject),
            ]
            if own := self.voxels(subject):
                found.append(source(f"mask and regions of {subject}", own, ""))
        found.append(Source("pictures", [self.pictures], PLACED, "put the pictures that were shown there"))
        others = [Path(path) for path in (*self.captions, *self.lists)]
        return [*found, *([source("captions and lists", others, "")] if others else [])]

    def sizes(self, study: Any) -> Sizes:
        sizes = self.settings.sizes or super().sizes(study)
        return sizes.model_copy(update={"image_size": self.settings.pictures.size})
