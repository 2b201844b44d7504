"""A tiny NSD tree written by hand, with plain h5py, nibabel and csv: an independent witness of what the readers read.

It imports nothing of fmri2img; paths, axes and 1-based ids are spelled out as the NSD data manual has them.
Two subjects with 3 and 2 sessions of 24 trials; 72 planned trials of 24 places, 6 of them shared; 50 images.
"""

import csv
import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
from scipy.io import savemat

SESSIONS = {"subj01": 3, "subj02": 2}
DIMS = {"subj01": (7, 9, 5), "subj02": (6, 8, 10)}
RUN_TRIALS = [3, 1] * 6
PER_SESSION = sum(RUN_TRIALS)
PLANNED = 3 * PER_SESSION
PLACES, SHARED, IMAGES, SIZE = 24, 6, 50, 8
MISSED = ("subj02", 2, 4)  # behaviour of this run was lost
BETA_FOLDER = {"b2": "betas_fithrf", "b3": "betas_fithrf_GLMdenoise_RR"}


class Tree:
    """The written tree and the truth: order, images, shared (0-based), betas, labels, ncsnr, pixels."""

    def __init__(self, root: Path, seed: int = 0) -> None:
        self.root, rng = Path(root), np.random.default_rng(seed)
        self.order = rng.permutation(np.repeat(np.arange(PLACES), 3))
        ids = rng.permutation(IMAGES)
        self.shared = np.sort(ids[:SHARED])
        own = ids[SHARED : SHARED + 2 * (PLACES - SHARED)].reshape(2, -1)
        self.images = np.concatenate([np.tile(self.shared, (2, 1)), own], axis=1)
        # The last place is presented last, so that subj02, who has no third session, never sees that image.
        self.order = np.concatenate([self.order[self.order < PLACES - 1], [PLACES - 1] * 3])
        self.betas, self.labels, self.ncsnr = {}, {}, {}
        self._design()
        self._csv()
        self._stimuli(rng)
        self._coco()
        for subject in SESSIONS:
            self._subject(subject, rng)

    def path(self, key: str) -> Path:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def func(self, subject: str, name: str) -> Path:
        return self.path(f"nsddata/ppdata/{subject}/func1pt8mm/{name}")

    def roi(self, subject: str, name: str = "nsdgeneral") -> Path:
        return self.func(subject, f"roi/{name}.nii.gz")

    def betas_file(self, subject: str, session: int, folder: str = BETA_FOLDER["b3"]) -> Path:
        return self.path(f"nsddata_betas/ppdata/{subject}/func1pt8mm/{folder}/betas_session{session:02d}.hdf5")

    def ids(self, subject: str) -> np.ndarray:
        """0-based image_id of each trial that the subject did."""
        return self.images[int(subject[-1]) - 1, self.order[: SESSIONS[subject] * PER_SESSION]]

    def _design(self) -> None:
        pattern = np.zeros((3, 12, 5), np.uint8)
        for run, n in enumerate(RUN_TRIALS):
            pattern[:, run, 1 : 1 + n] = 1
        content = {
            "masterordering": (self.order + 1).astype(np.uint16)[None],
            "subjectim": (self.images + 1).astype(np.float64),
            "sharedix": (self.shared + 1).astype(np.float64)[None],
            "stimpattern": pattern,
        }
        savemat(self.path("nsddata/experiments/nsd/nsd_expdesign.mat"), content)

    def _csv(self) -> None:
        reps = [f"subject{s}_rep{r}" for s in range(1, 9) for r in range(3)]
        subjects = [f"subject{s}" for s in range(1, 9)]
        header = ["", "cocoId", "cocoSplit", "cropBox", "loss", "nsdId", "flagged", "BOLD5000", "shared1000"]
        with open(self.path("nsddata/experiments/nsd/nsd_stim_info_merged.csv"), "w", newline="") as handle:
            table = csv.writer(handle)
            table.writerow(header + subjects + reps)
            for image in range(IMAGES):
                split = "val2017" if image % 5 == 0 else "train2017"
                # All 72 planned trials, done or not, of the two subjects; 1-based, 0 for never.
                planned = []
                for places in self.images:
                    trials = np.flatnonzero(places[self.order] == image) + 1
                    planned += trials.tolist() if len(trials) else [0, 0, 0]
                seen = [int(any(planned[3 * s : 3 * s + 3])) for s in range(2)]
                row = [image, 1000 + 7 * image, split, "(0.0, 0.0, 0.125, 0.25)", 0.1, image, False, False]
                row += [image in self.shared, *seen, *[0] * 6, *planned, *[0] * 18]
                table.writerow(row)

    def _stimuli(self, rng) -> None:
        self.pixels = rng.integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
        with h5py.File(self.path("nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"), "w") as file:
            file["imgBrick"] = self.pixels

    def _coco(self) -> None:
        self.captions = {i: [f"caption {k} of {i}" for k in range(5)] for i in range(IMAGES)}
        self.categories = {i: [] if i % 3 == 0 else ["dog", "zebra"] for i in range(IMAGES)}
        for split in ("train2017", "val2017"):
            members = [i for i in range(IMAGES) if (i % 5 == 0) == (split == "val2017")]
            # Listed out of order, and with white space, as in COCO.
            said = [
                {"id": 10 * i + k, "image_id": 1000 + 7 * i, "caption": f" {self.captions[i][k]} \n"}
                for i in reversed(members)
                for k in (3, 1, 4, 0, 2)
            ]
            outline = {"segmentation": {"size": [2, 2], "counts": [1, 3]}}
            objects = [
                {"id": i, "image_id": 1000 + 7 * i, "category_id": c, **outline}
                for i in members
                for c in (24, 18, 24)
                if self.categories[i]
            ]
            names = [{"id": 24, "name": "zebra"}, {"id": 18, "name": "dog"}]
            captions, instances = {"annotations": said}, {"annotations": objects, "categories": names}
            self.path(f"annotations/captions_{split}.json").write_text(json.dumps(captions))
            self.path(f"annotations/instances_{split}.json").write_text(json.dumps(instances))

    def _subject(self, subject: str, rng) -> None:
        shape, n = DIMS[subject], SESSIONS[subject]
        general = rng.choice([-1, 0, 1], shape, p=(0.3, 0.3, 0.4)).astype(np.int16)
        visual = rng.integers(-1, 8, shape).astype(np.int16)
        self.labels[subject] = {"nsdgeneral": general, "prf-visualrois": visual}
        for name, top in [("floc-bodies", 4), ("floc-faces", 5), ("floc-places", 3), ("floc-words", 5), ("streams", 7)]:
            self.labels[subject][name] = rng.integers(-1, top + 1, shape).astype(np.int16)
        for name, labels in self.labels[subject].items():
            save_volume(self.roi(subject, name), labels)
        self.ncsnr[subject] = {}
        for version, folder in BETA_FOLDER.items():
            values = rng.uniform(0, 1.4, shape).astype(np.float32)
            self.ncsnr[subject][version] = values
            save_volume(self.betas_file(subject, 1, folder).with_name("ncsnr.nii.gz"), values)
        scale = rng.uniform(200, 900, shape)
        betas = []
        for session in range(1, n + 1):
            offset, gain = rng.normal(0, 500, shape), rng.normal(1, 0.1, shape)
            values = (offset + gain * scale * rng.normal(size=(PER_SESSION, *shape))).round().astype(np.int16)
            betas.append(values)
            save_betas(self.betas_file(subject, session), values)
            save_volume(self.func(subject, f"valid_session{session:02d}.nii.gz"), np.ones(shape, np.int16))
        self.betas[subject] = np.concatenate(betas)  # (trials, X, Y, Z)
        self._responses(subject)

    def _responses(self, subject: str) -> None:
        header = "SUBJECT SESSION RUN TRIAL 73KID 10KID TIME ISOLD ISCORRECT RT CHANGEMIND MEMORYRECENT MEMORYFIRST"
        header += " ISOLDCURRENT ISCORRECTCURRENT TOTAL1 TOTAL2 BUTTON MISSINGDATA"
        lines, trial, ids, met = ["\t".join(header.split())], 0, self.ids(subject), set()
        for session in range(1, SESSIONS[subject] + 1):
            for run, n in enumerate(RUN_TRIALS, start=1):
                for number in range(1, n + 1):
                    old, lost = int(ids[trial] in met), (subject, session, run) == MISSED
                    met.add(ids[trial])
                    answer = ["NaN", "NaN", "NaN"] if lost else [1, 700.25 + trial, 0]
                    row = [int(subject[-1]), session, run, number, ids[trial] + 1, self.order[trial] + 1]
                    row += [f"{0.5 + trial * 4.6296e-05:.20g}", old, *answer, "NaN", "NaN", old]
                    row += ["NaN" if lost else 1, 1, 0, "NaN" if lost else 1 + old, int(lost)]
                    lines.append("\t".join(str(value) for value in row))
                    trial += 1
        self.path(f"nsddata/ppdata/{subject}/behav/responses.tsv").write_text("\n".join(lines) + "\n")


def save_volume(path: Path, values: np.ndarray) -> None:
    """NIfTI with NSD's affine, which centres the grid and says nothing of anatomy."""
    affine = np.diag([1.8, 1.8, 1.8, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * 1.8 for n in values.shape[:3]]
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def save_betas(path: Path, values: np.ndarray) -> None:
    """betas_sessionNN.hdf5 of int16 (trials, X, Y, Z): axes reversed but for the trials, one chunk a voxel."""
    with h5py.File(path, "w", libver="earliest") as file:
        data = values.transpose(0, 3, 2, 1)
        file.create_dataset("betas", data=data, dtype="<i2", chunks=(len(values), 1, 1, 1))


def edit_cell(path: Path, row: int, column: str, value) -> None:
    """Overwrite one cell of a tab- or comma-separated file; row 0 is the first below the header."""
    separator = "\t" if path.suffix == ".tsv" else ","
    with open(path, newline="") as handle:
        rows = list(csv.reader(handle, delimiter=separator))
    rows[row + 1][rows[0].index(column)] = str(value)
    with open(path, "w", newline="") as handle:
        csv.writer(handle, delimiter=separator, lineterminator="\n").writerows(rows)
