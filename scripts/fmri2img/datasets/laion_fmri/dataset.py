"""LAION-fMRI with a study's settings: simulated, or from its public bucket and the user's copy."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fmri2img.datasets.dataset import Sizes, check_folder
from fmri2img.datasets.inventory import DOWNLOADED, LINKED, MADE, PLACED, Source
from fmri2img.datasets.laion_fmri import layout
from fmri2img.datasets.laion_fmri.regions import local_keys, masks_in
from fmri2img.datasets.own_files import is_there
from fmri2img.datasets.tree import TreeDataset
from fmri2img.settings.base import problem

SUBJECT = "subject"
SESSION_BYTES = 1_300_000_000  # of compressed betas
IN_FLIGHT = 8  # sessions in the tree at the same time, before they are masked and deleted (slurm/config.yaml)


class Dataset(TreeDataset):
    """LAION-fMRI. root: folder of the files in the bucket's own layout, simulated or real."""

    @property
    def sessions(self) -> dict[str, int]:
        return self.settings.recorded_sessions | self.settings.sessions

    @property
    def has_pictures(self) -> bool:
        return bool(self.settings.pictures)

    @property
    def pictures_remedy(self) -> str:
        return f"request the pictures at {layout.FORM} and set laion_fmri.pictures to true"

    @property
    def embeddings(self) -> dict[str, dict]:
        declared = super().embeddings
        if not self.simulated:
            return declared
        simulated = {"width": self.settings.simulation.width, "trained_on": "nothing (simulated)", "training_data": []}
        return {name: one | simulated for name, one in declared.items()}

    def is_one_split(self, split: str) -> bool:
        return self.settings.pool == layout.SHARED or split not in self.splits or split == layout.OOD

    def pools_of(self, study: Any) -> list[str]:
        """The pools whose splits a study reads: its subjects', or the shared one."""
        return list(study.recorded) if self.settings.pool == SUBJECT else [layout.SHARED]

    def check(self, study: Any) -> None:
        """Check that a copy holds LAION-fMRI. Raises UserError."""
        if self.copied is None:
            return
        remedy = "correct the path, or set the key to null, so that all files are downloaded"
        check_folder("laion_fmri.bucket.copy", self.copied, _holds, remedy)
        if not _holds(self.copied):
            raise problem(
                "laion_fmri.bucket.copy",
                f"{self.copied} holds no files of LAION-fMRI ({layout.GLMSINGLE}/, stimuli/task-images_..., "
                f"{layout.SPLIT_FOLDER}/); {remedy}",
            )

    def check_terms(self) -> None:
        """Check that the pictures, which come with an agreement, are in place if they are used. Raises UserError."""
        folders = [self.root, *([self.copied] if self.copied else [])]
        if self.simulated or not self.has_pictures or any([is_there(one / layout.PICTURES) for one in folders]):
            return
        raise problem(
            "laion_fmri.pictures",
            f"is true, but there is no {folders[-1] / layout.PICTURES}, which is not public; request it at "
            f"{layout.FORM} and put it there, or set the key to false",
        )

    def region_masks(self, subject: str) -> list[str]:
        """Paths in the tree of the region masks that the user's copy has, which are then used."""
        keys = local_keys(subject, self.copied) if self.copied else []
        return [self.tree(key) for key in masks_in(subject, keys).values()]

    def inventory(self, study: Any) -> list[Source]:
        if self.simulated:
            return [Source("the simulated LAION-fMRI", [self.root], MADE, "the simulator")]
        found = []
        listed = [layout.region_list(subject) for subject in study.recorded if self.region_masks(subject)]
        for what, keys, gigabytes in self._kinds(study):
            linked = [key for key in keys if key in listed or self.is_copied(key)]
            bucket = self.settings.bucket
            origin = bucket.splits_url if keys[0].startswith(layout.SPLIT_FOLDER) else f"s3://{bucket.bucket}"
            groups = [
                (linked, LINKED, str(self.copied)),
                ([key for key in keys if key not in linked], DOWNLOADED, origin),
            ]
            for own, way, where in groups:
                if own == [layout.PICTURES] and way == DOWNLOADED:
                    way, where = PLACED, f"request them at {layout.FORM} and put the file there"
                if own:
                    share = gigabytes * len(own) / len(keys)
                    found.append(Source(what, [self.root / key for key in own], way, where, share))
        return found

    def _kinds(self, study: Any) -> Iterator[tuple[str, list[str], float]]:
        """What each kind of file is, their keys, and their size in GB."""
        for subject in study.recorded:
            sessions = study.used_sessions(subject)
            counted = f"sessions 1-{len(sessions)}" if len(sessions) > 1 else "session 1"
            keys = [layout.betas(subject, number) for number in sessions]
            yield f"betas of {subject}, {counted}", keys, layout.SESSION_GIGABYTES * len(keys)
            keys = [layout.trials(subject, number) for number in sessions]
            ceiling = layout.noise_ceiling(subject, self.settings.betas.noise_ceiling)
            yield f"trials and maps of {subject}", [*keys, ceiling, layout.r2mean(subject)], 0.05
            yield f"region masks of {subject}", [layout.region_list(subject)], 0.01
        models = {layout.EMBEDDINGS[0], layout.BROUGHT.get(study.config["encoder"])}
        keys = [layout.embeddings(model) for model in layout.EMBEDDINGS if model in models]
        yield "embeddings", keys, layout.EMBEDDINGS_GIGABYTES * len(keys)
        yield "captions", [layout.CAPTIONS], 0.02
        yield "splits", [layout.split(pool, study.config["split"]) for pool in self.pools_of(study)], 0.0
        if self.has_pictures:
            yield "list of the pictures", [layout.METADATA], 0.0
            yield "pictures", [layout.PICTURES], layout.PICTURES_GIGABYTES

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
