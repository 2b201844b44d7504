"""NSD with a study's settings: simulated, downloaded from its bucket, or only its published test images."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fmri2img.datasets.dataset import Sizes, check_folder
from fmri2img.datasets.inventory import MADE, Source
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.acquisition_plan import sources_of
from fmri2img.datasets.nsd.settings import terms_not_accepted
from fmri2img.datasets.nsd.transfer_sets import experiments, image_ids, picture_keys, trial_keys
from fmri2img.datasets.own_files import is_there
from fmri2img.datasets.tree import TreeDataset
from fmri2img.settings.base import nearest, problem

SIMULATED, BUCKET, IMAGES = "simulated", "bucket", "images"
SESSION_BYTES = 1_300_000_000  # the largest betas_sessionNN.hdf5 (subject 6)
IN_FLIGHT = 8  # sessions in the tree at the same time, before they are masked and deleted (slurm/config.yaml)


class Dataset(TreeDataset):
    """NSD. root: folder of the files in NSD's own layout, simulated or real."""

    @property
    def source(self) -> str:
        return self.settings.source

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
    def sessions(self) -> dict[str, int]:
        return self.settings.recorded_sessions | self.settings.sessions

    @property
    def further_subjects(self) -> str:
        return "; state the sessions of a subject of your own in nsd.sessions" if self.source == BUCKET else ""

    @property
    def splits(self) -> dict[str, dict]:
        declared, last = super().splits, self.settings.shared982_sessions
        clause = f"the shared images shown within the first {last} sessions; later sessions unused"
        declared = declared | {"shared982": declared["shared982"] | {"sessions": last, "description": clause}}
        if not self.transfer:
            return declared
        return {name: split | {"test_sets": [*split["test_sets"], *self.transfer]} for name, split in declared.items()}

    @property
    def transfer(self) -> list[str]:
        """Test sets of experiments that nothing is fitted to."""
        return self.settings.transfer

    @property
    def image_sources(self) -> dict[str, list[str]]:
        """Those of the study's test images; drawn ones are in no collection."""
        declared = super().image_sources
        if self.simulated:
            return {name: [] for name in declared} if self.transfer else {}
        return {name: found for name, found in declared.items() if self.transfer or name.startswith("COCO")}

    def transfer_of(self, study: Any, subject: str) -> list[str]:
        """Those in which the subject's trials are tested. Subjects that networks are only pretrained on have none."""
        return self.transfer if subject in study.subjects else []

    def betas(self, subject: str, session: int) -> str:
        """Key of a session's betas: as HDF5, or as NIfTI where the user's copy has only that."""
        return self._copied_form(layout.betas(subject, self.settings.betas.version, session))

    def experiment_betas(self, subject: str, experiment: str) -> str:
        """The same of NSD-Imagery or NSD-Synthetic."""
        return self._copied_form(layout.experiment_betas(subject, self.settings.betas.version, experiment))

    def _copied_form(self, key: str) -> str:
        keys = layout.forms(key)
        return next((form for form in keys if self.is_copied(form)), keys[0])

    @property
    def region_files(self) -> list[str]:
        """Names of the region files that are read: the mask's, then those of the columns of voxels."""
        return list(dict.fromkeys([layout.mask_of(self.settings.betas.mask)[0], *layout.ROI_LABELS]))

    def _is_there(self, key: str) -> bool:
        return is_there(self.root / key) or self.is_copied(key)

    def check(self, study: Any) -> None:
        """Check that a copy holds NSD, that it has the sessions and the mask, and that published images are registered.

        This holds for the study's subjects and for those that networks are pretrained on. Raises UserError.
        """
        if not self.has_recordings:
            self._check_split_of_images(study.config["split"])
            study.named("backbones", self.settings.images.fetched, "nsd.images.fetched")
            return
        self._check_copy(study)
        for subject in [] if self.simulated else study.recorded:
            self._check_sessions(subject, study.available_sessions[subject])
            if subject not in layout.SESSIONS:
                self._check_own_subject(subject, study.available_sessions[subject])
        self._check_mask(study.recorded)
        self._check_transfer(study)

    def _check_transfer(self, study: Any) -> None:
        if not self.transfer:
            return
        split = study.config["split"]
        if split not in self.splits:
            what = f"split {split} is computed from all pictures, which would be those of {self.transfer[0]} too"
            raise problem("nsd.transfer", f"{what}; set it to [], or use split {' or '.join(self.splits)}")
        others = [subject for subject in study.subjects if subject not in layout.SESSIONS]
        if others:
            raise problem(
                "nsd.transfer", f"{others[0]} is not a subject of NSD, and was not in these experiments; set it to []"
            )

    def _check_copy(self, study: Any) -> None:
        if self.copied is None:
            return

        def holds(folder: Path) -> bool:
            return any((folder / form).is_file() for key in self.keys(study) for form in layout.forms(key))

        remedy = "correct the path, or set the key to null, so that all files are downloaded"
        check_folder("nsd.bucket.copy", self.copied, holds, remedy)
        if not holds(self.copied):
            files = "files of NSD that this study reads (nsddata/, nsddata_betas/, nsddata_stimuli/, annotations/)"
            raise problem("nsd.bucket.copy", f"{self.copied} holds none of the {files}; {remedy}")

    def _check_sessions(self, subject: str, used: int) -> None:
        """The subject's record of its trials, where the user has it, lists all sessions that are used."""
        key = layout.responses(subject)
        path = next((folder / key for folder in (self.root, self.copied) if folder and is_there(folder / key)), None)
        listed = layout.last_session(path) if path else None
        if listed is not None and listed < used:
            raise problem(
                "nsd.sessions",
                f"{path} ends with session {listed}, but {used} sessions of {subject} are used; add "
                f"`{subject}: {listed}` there, or replace the file by that of NSD's last release",
            )

    def _check_own_subject(self, subject: str, used: int) -> None:
        """All files of a subject that NSD does not have are the user's."""
        lacking = [key for key in self.subject_keys(subject, used) if not self._is_there(key)]
        if lacking:
            raise problem(
                "nsd.sessions",
                f"{subject} is not a subject of NSD, and {self.copied or self.root} lacks {lacking[0]} "
                f"({len(lacking)} of its files are missing); put them there, or use NSD's {', '.join(layout.SESSIONS)}",
            )

    def _check_mask(self, subjects: list[str]) -> None:
        name = layout.mask_of(self.settings.betas.mask)[0]
        if name.removeprefix("lh.").removeprefix("rh.") in layout.ROI_FILES:
            return
        for subject in subjects:
            if not self._is_there(layout.roi(subject, name)):
                regions = [region for labels in layout.ROI_LABELS.values() for region in labels]
                where = (self.copied or self.root) / layout.roi(subject, name)
                raise problem(
                    "nsd.betas.mask",
                    f"'{name}' is neither a region file nor a region of NSD, and there is no {where}, which a file of "
                    f"your own would be; {nearest(name, [*layout.ROI_FILES, *regions], 'available')}",
                )

    def keys(self, study: Any) -> Iterator[str]:
        """Keys of the files of NSD that a study reads."""
        yield from (layout.EXPERIMENT_DESIGN, layout.STIMULUS_INFO, layout.STIMULI)
        yield from (*layout.COCO_CAPTIONS.values(), *layout.COCO_INSTANCES.values())
        for subject in study.recorded:
            yield from self.subject_keys(subject, study.available_sessions[subject])
        yield from dict.fromkeys(self._transfer_keys(study))

    def _transfer_keys(self, study: Any) -> Iterator[str]:
        yield from picture_keys(study.subjects, self.transfer)
        for subject in study.subjects:
            yield from trial_keys(subject, self.transfer)
            for experiment in experiments(self.transfer):
                yield layout.experiment_valid(subject, experiment)
                yield self.experiment_betas(subject, experiment)

    def subject_keys(self, subject: str, sessions: int) -> Iterator[str]:
        yield layout.responses(subject)
        yield layout.ncsnr(subject, self.settings.betas.version)
        yield from (layout.roi(subject, name) for name in self.region_files)
        yield layout.func(subject, "brainmask.nii.gz")
        for number in range(1, sessions + 1):
            yield layout.valid(subject, number)
            yield self.betas(subject, number)

    def inventory(self, study: Any) -> list[Source]:
        if self.source == SIMULATED:
            return [Source("the simulated NSD", [self.root], MADE, "the simulator")]
        if self.source == IMAGES:
            return []  # they are files of a registered network's entry
        keys = list(self.keys(study))
        return sources_of(keys, {key for key in keys if self.is_copied(key)}, self.settings.bucket, self.root)

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
            return sizes.model_copy(update={"images": images + self._transfer_images(study)})
        simulation = self.settings.simulation
        return Sizes(
            images=simulation.stimuli + self._transfer_images(study),
            image_size=simulation.image_size,
            test_images=max(1, simulation.stimuli // 10),
            session_trials=self.settings.simulation.trials_per_session,
            voxels=max(math.prod(simulation.subjects[subject].dims) for subject in study.recorded),
        )

    def _transfer_images(self, study: Any) -> int:
        return sum(len(image_ids(test_set, study.subjects)) for test_set in self.transfer)

    def bytes_of(self, study: Any) -> dict[Path, int]:
        """Bytes of recordings, stimuli, masked sessions (int16) and the tree (simulated files or unmasked betas).

        Files that are downloaded and kept are not counted, because each download first checks the free disk space.
        """
        found = super().bytes_of(study)
        if not self.has_recordings:
            return found
        sizes = self.sizes(study)
        sessions = sum(study.available_sessions[subject] for subject in study.recorded)
        sessions += len(experiments(self.transfer)) * len(study.subjects)  # of as many trials, roughly
        masked = 2 * sessions * sizes.session_trials * sizes.voxels
        return {folder: size + masked for folder, size in found.items()} | {self.root: self._tree_bytes(sizes)}

    def _tree_bytes(self, sizes: Sizes) -> int:
        if not self.simulated:
            return IN_FLIGHT * SESSION_BYTES
        subjects = self.settings.simulation.subjects.values()
        # Betas b2 and b3, each as int16 in HDF5 and compressed in NIfTI.
        betas = sum(6 * one.sessions * sizes.session_trials * math.prod(one.dims) for one in subjects)
        return betas + sizes.images * 3 * sizes.image_size**2
