"""NSD with a study's settings: simulated, downloaded from its bucket, or only its published test images."""

import math
from pathlib import Path
from typing import Any

from fmri2img.datasets import dataset
from fmri2img.datasets.dataset import SIMULATED_LICENCE, Sizes
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.settings import terms_not_accepted
from fmri2img.settings.base import nearest, problem

SIMULATED, BUCKET, IMAGES = "simulated", "bucket", "images"
SESSION_BYTES = 1_300_000_000  # the largest betas_sessionNN.hdf5 (subject 6)
IN_FLIGHT = 8  # sessions in the tree at the same time, before they are masked and deleted (slurm/config.yaml)


class Dataset(dataset.Dataset):
    """NSD. root: folder of the files in NSD's own layout, simulated or real."""

    @property
    def source(self) -> str:
        return self.settings.source

    @property
    def root(self) -> Path:
        return Path(self.settings.root)

    @property
    def simulated(self) -> bool:
        return self.source == SIMULATED

    @property
    def has_recordings(self) -> bool:
        return self.source != IMAGES

    @property
    def has_captions(self) -> bool:
        return self.source != IMAGES or self.settings.images.captions is not None

    @property
    def anatomy(self) -> list[str]:
        return {SIMULATED: ["brain"], BUCKET: ["brain", "mni"], IMAGES: []}[self.source]

    @property
    def licence(self) -> dict:
        return SIMULATED_LICENCE if self.simulated else super().licence

    @property
    def sessions(self) -> dict[str, int]:
        if self.simulated:
            return {name: subject.sessions for name, subject in self.settings.simulation.subjects.items()}
        return dict(layout.SESSIONS)

    @property
    def splits(self) -> dict[str, dict]:
        declared, last = super().splits, self.settings.shared982_sessions
        clause = f"the shared images shown within the first {last} sessions; later sessions unused"
        return declared | {"shared982": declared["shared982"] | {"sessions": last, "description": clause}}

    def tree(self, key: str) -> str:
        """Path of a file of the tree. key: from the functions and constants of layout.py."""
        return str(self.root / key)

    def check(self, study: Any) -> None:
        """Check that the mask is NSD's or the user's own region file, and that published images are registered."""
        if not self.has_recordings:
            self._check_split_of_images(study.config["split"])
            study.named("backbones", self.settings.images.fetched, "nsd.images.fetched")
            return
        mask = self.settings.betas.mask
        own = [Path(self.settings.bucket.copied or self.root, layout.roi(name, mask)) for name in study.subjects]
        if mask.removeprefix("lh.").removeprefix("rh.") not in layout.ROI_FILES and not all(p.is_file() for p in own):
            hint = nearest(mask, layout.ROI_FILES, "available")
            raise problem("nsd.betas.mask", f"there is no region file '{mask}'; {hint}")

    def _check_split_of_images(self, split: str) -> None:
        if split == "shared982" and self.settings.images.shared982 is None:
            what = "is null, and the published files do not say which images split shared982 tests"
            raise problem("nsd.images.shared982", f"{what}; name a list of their image_id, or use split shared1000")
        if split not in self.splits:
            what = f"{split} needs all images, and the dataset has only published test images"
            raise problem("split", f"{what}; use one of {', '.join(self.splits)}")

    def check_terms(self) -> None:
        if self.source == BUCKET and not self.settings.bucket.terms_accepted:
            raise terms_not_accepted()

    def sizes(self, study: Any) -> Sizes:
        sizes = super().sizes(study)
        if not self.simulated:
            # Each subject saw 9,000 images of its own and 1,000 that all subjects saw.
            images = sizes.test_images + (9000 * len(study.recorded) if self.has_recordings else 0)
            return sizes.model_copy(update={"images": images})
        simulation = self.settings.simulation
        return Sizes(
            images=simulation.stimuli,
            image_size=simulation.image_size,
            test_images=max(1, simulation.stimuli // 10),
            session_trials=self.settings.simulation.trials_per_session,
            voxels=max(math.prod(simulation.subjects[subject].dims) for subject in study.recorded),
        )

    def bytes_of(self, study: Any) -> dict[Path, int]:
        """Bytes of recordings, stimuli, masked sessions (int16) and the tree (simulated files or unmasked betas).

        Files that are downloaded and kept are not counted, because each download first checks the free disk space.
        """
        found = super().bytes_of(study)
        if not self.has_recordings:
            return found
        sizes = self.sizes(study)
        sessions = sum(study.available_sessions[subject] for subject in study.recorded)
        masked = 2 * sessions * sizes.session_trials * sizes.voxels
        return {folder: size + masked for folder, size in found.items()} | {self.root: self._tree_bytes(sizes)}

    def _tree_bytes(self, sizes: Sizes) -> int:
        if not self.simulated:
            return IN_FLIGHT * SESSION_BYTES
        subjects = self.settings.simulation.subjects.values()
        # Betas b2 and b3, each as int16 in HDF5 and compressed in NIfTI.
        betas = sum(6 * one.sessions * sizes.session_trials * math.prod(one.dims) for one in subjects)
        return betas + sizes.images * 3 * sizes.image_size**2
