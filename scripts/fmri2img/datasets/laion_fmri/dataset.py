"""LAION-fMRI with a study's settings: simulated, or from its public bucket and the user's copy."""

import math
from pathlib import Path
from typing import Any

from fmri2img.datasets.dataset import FolderDataset, Sizes, check_folder
from fmri2img.datasets.laion_fmri import layout
from fmri2img.datasets.own_files import is_there
from fmri2img.settings.base import problem

SUBJECT = "subject"
SESSION_BYTES = 1_300_000_000  # of compressed betas
IN_FLIGHT = 8  # sessions in the tree at the same time, before they are masked and deleted (slurm/config.yaml)


class Dataset(FolderDataset):
    """LAION-fMRI. root: folder of the files in the bucket's own layout, simulated or real."""

    @property
    def sessions(self) -> dict[str, int]:
        return self.settings.recorded_sessions | self.settings.sessions

    @property
    def has_pictures(self) -> bool:
        return bool(self.settings.pictures)

    def tree(self, key: str) -> str:
        """Path of a file of the tree. key: from the functions and constants of layout.py."""
        return str(self.root / key)

    def pools_of(self, study: Any) -> list[str]:
        """The pools whose splits a study reads: its subjects', or the shared one."""
        return list(study.recorded) if self.settings.pool == SUBJECT else [layout.SHARED]

    @property
    def _copied(self) -> Path | None:
        """The user's own copy, where files may come from it."""
        copied = None if self.simulated else self.settings.bucket.copied
        return Path(copied) if copied else None

    def check(self, study: Any) -> None:
        """Check that a copy holds LAION-fMRI. Raises UserError."""
        if self._copied is None:
            return
        remedy = "correct the path, or set the key to null, so that all files are downloaded"
        check_folder("laion_fmri.bucket.copy", self._copied, _holds, remedy)
        if not _holds(self._copied):
            raise problem(
                "laion_fmri.bucket.copy",
                f"{self._copied} holds no files of LAION-fMRI ({layout.GLMSINGLE}/, stimuli/task-images_..., "
                f"{layout.SPLIT_FOLDER}/); {remedy}",
            )

    def check_terms(self) -> None:
        """Check that the pictures, which come with an agreement, are in place if they are used. Raises UserError."""
        folders = [self.root, *([self._copied] if self._copied else [])]
        if self.simulated or not self.has_pictures or any([is_there(one / layout.PICTURES) for one in folders]):
            return
        raise problem(
            "laion_fmri.pictures",
            f"is true, but there is no {folders[-1] / layout.PICTURES}, which is not public; request it at "
            f"{layout.FORM} and put it there, or set the key to false",
        )

    def sizes(self, study: Any) -> Sizes:
        sizes = super().sizes(study)
        one = self.settings.simulation
        if not self.simulated:
            images = 1_492 + 4_712 * len(study.recorded)
            return sizes.model_copy(update={"images": images, "image_size": self.settings.image_size})
        trials = 12 * one.shared_12rep + 4 * (one.shared_4rep + one.ood + one.unique)
        return Sizes(
            images=one.shared_12rep + one.shared_4rep + one.ood + one.subjects * one.unique,
            image_size=self.settings.image_size,
            test_images=max(one.ood, (one.shared_12rep + one.shared_4rep + one.unique) // 5),
            session_trials=math.ceil(trials / one.sessions),
            voxels=math.prod(one.dims),
        )

    def bytes_of(self, study: Any) -> dict[Path, int]:
        """Bytes of recordings, stimuli, masked sessions (float32) and the tree (simulated files or unmasked betas)."""
        sizes, found = self.sizes(study), super().bytes_of(study)
        sessions = sum(study.available_sessions[subject] for subject in study.recorded)
        masked = 4 * sessions * sizes.session_trials * sizes.voxels
        tree = masked if self.simulated else IN_FLIGHT * SESSION_BYTES
        return {folder: size + masked for folder, size in found.items()} | {self.root: tree}


def _holds(folder: Path) -> bool:
    """Whether a folder has files of LAION-fMRI in the bucket's layout."""
    return any(
        (folder / name).exists()
        for name in (layout.GLMSINGLE, layout.SPLIT_FOLDER, layout.PICTURES, layout.METADATA, layout.CAPTIONS)
    ) or any((folder / layout.embeddings(model)).exists() for model in layout.EMBEDDINGS)
