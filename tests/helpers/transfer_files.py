"""NSD-Imagery and NSD-Synthetic of one subject, written by hand next to a tree of nsd_tree.py.

As that, it imports nothing of fmri2img: rows, names and keys are spelled out as the data manual, the two papers' code
and public loaders have them. Pictures are 8 x 16 pixels, where NSD's photographs have 8 x 8.
"""

import csv

import h5py
import numpy as np
from nsd_tree import DIMS, SIZE, Tree, save_betas, save_volume
from PIL import Image
from scipy.io import savemat

# First row and row after the last of each run among the 720 (NSD data manual 1.6).
BLOCKS = {
    "visA": (0, 48), "attA": (48, 144), "imgA_1": (144, 192), "visB": (192, 240), "attB": (240, 336),
    "imgB_1": (336, 384), "visC": (384, 432), "attC": (432, 528), "imgC_1": (528, 576), "imgA_2": (576, 624),
    "imgB_2": (624, 672), "imgC_2": (672, 720),
}  # fmt: skip
LETTERS = {"A": "HRVLPE", "B": "WKBCDT", "C": "SZMYNF"}
PICTURES = {
    "A": ["bar_000.0deg_450L_43W", "bar_045.0deg_450L_43W", "bar_090.0deg_450L_43W", "bar_135.0deg_450L_43W",
          "crs_000.0deg_450L_43W", "crs_045.0deg_450L_43W"],
    "B": ["shared0385_nsd28752", "shared0413_nsd30857", "shared0741_nsd53882", "shared0842_nsd61178",
          "shared0907_nsd65873", "shared0000_nsd00000"],
}  # fmt: skip
HEADER = (
    "SUBJECT", "SESSION", "RUN", "TRIAL", "CONDITION", "CUE", "FRAMEFILE", "IMAGEFILE", "GROUNDTRUTH", "ISCORRECT",
    "CHANGEMIND", "TOTAL1", "TOTAL2", "BUTTON", "TRIALONSET", "TRIALEND", "IMAGEONSET", "IMAGESERIESENDS",
    "FINALDECISIONTIME", "RT",
)  # fmt: skip
SHARED, COLOURED, TRIALS, WIDTH = 220, 64, 744, 16
BLANK = (7, 11)  # synthetic images, from 0, whose only content is left and right of the square


class TransferFiles:
    """The files of `subject`, and the truth: betas (volumes, X, Y, Z), letters of each run, order, pictures."""

    def __init__(self, tree: Tree, subject: str = "subj01", seed: int = 1) -> None:
        self.tree, self.subject, rng = tree, subject, np.random.default_rng(seed)
        shape = DIMS[subject]
        self.betas = {}
        for name, volumes in (("nsdimagery", 720), ("nsdsynthetic", TRIALS)):
            scale = rng.uniform(200, 900, shape)
            values = rng.normal(0, 500, shape) + scale * rng.normal(size=(volumes, *shape))
            self.betas[name] = values.round().astype(np.int16)
            save_betas(self.betas_file(name), self.betas[name])
            save_volume(self.valid_file(name), np.ones(shape, np.int16))
        self._imagery(rng)
        self._synthetic(rng)

    def betas_file(self, name: str, form: str = "hdf5"):
        folder = f"nsddata_betas/ppdata/{self.subject}/func1pt8mm/{name}betas_fithrf_GLMdenoise_RR"
        return self.tree.path(f"{folder}/betas_{name}.{form}")

    def valid_file(self, name: str):
        return self.tree.func(self.subject, f"valid_{name}.nii.gz")

    def run_file(self, run: str):
        return self.tree.path(f"nsddata/bdata/nsdimagery/nsdimagery_{self.subject}_{run}.tsv")

    def _imagery(self, rng) -> None:
        self.condition, self.cue, design = {}, {}, np.empty((1, 12), object)
        for number, (run, (first, last)) in enumerate(BLOCKS.items()):
            task, letters = run[:3], np.array([*LETTERS[run[3]]])
            order = rng.permutation(np.repeat(np.arange(6), 8))
            self.condition[run], self.cue[run] = letters[order], letters[order]
            if task == "vis":  # on half of the trials the letter belongs to another picture
                self.cue[run] = letters[(order + rng.integers(1, 6, 48) * (rng.permutation(48) < 24)) % 6]
            seconds = 8 if task == "att" else 4
            matrix = np.zeros((60 * seconds, 36))
            column = {"vis": 0, "att": 6, "img": 18 + 6 * "ABC".index(run[3])}[task]
            onsets = 4 * seconds + seconds * np.arange(48)
            matrix[onsets, column + order] = 1
            if task == "att":
                matrix[onsets + 4, column + 6 + order] = 1
            assert matrix.sum() == last - first
            design[0, number] = matrix
            with open(self.run_file(run), "w", newline="") as file:
                table = csv.writer(file, delimiter="\t", lineterminator="\n")
                table.writerow(HEADER)
                for trial in range(48):
                    row = [int(self.subject[-1]), 1, number + 1, trial + 1, self.condition[run][trial]]
                    row += [self.cue[run][trial], "frame.png", "NaN", 1, "NaN" if trial == 3 else 1, 0, 1, 0, 1]
                    row += [onsets[trial], onsets[trial] + seconds, "NaN", "NaN", onsets[trial] + 1, 700.5 + trial]
                    table.writerow(row)
        savemat(self.tree.path("nsddata/experiments/nsdimagery/designmatrixGLMsingle.mat"), {"stimulus": design})
        self.targets = {}
        for group, names in PICTURES.items():
            for name in names:
                self.targets[name] = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
                path = self.tree.path(f"nsddata/experiments/nsdimagery/rawtargetimages/set{group}/{name}.png")
                Image.fromarray(self.targets[name]).save(path)

    def _synthetic(self, rng) -> None:
        images = SHARED + COLOURED
        self.order = rng.permutation(np.concatenate([np.arange(images)] * 2 + [np.arange(TRIALS - 2 * images)]))
        pattern = np.zeros((1, 8, 107), np.uint8)
        pattern[0, :, 5:98] = 1
        content = {"masterordering": self.order[None].astype(np.uint16) + 1, "stimpattern": pattern}
        savemat(self.tree.path("nsddata/experiments/nsdsynthetic/nsdsynthetic_expdesign.mat"), content)
        self.pictures = rng.integers(0, 256, (images, SIZE, WIDTH, 3), dtype=np.uint8)
        self.pictures[list(BLANK), :, 4:12] = 63
        folder = "nsddata_stimuli/stimuli/nsdsynthetic"
        with h5py.File(self.tree.path(f"{folder}/nsdsynthetic_stimuli.hdf5"), "w") as file:
            file["imgBrick"] = self.pictures[:SHARED]
        with h5py.File(self.tree.path(f"{folder}/nsdsynthetic_colorstimuli_{self.subject}.hdf5"), "w") as file:
            file["imgBrick"] = self.pictures[SHARED:]
        path = self.tree.path("nsddata/experiments/nsdsynthetic/nsdsyntheticimageinformation.csv")
        with open(path, "w", newline="") as file:
            table = csv.writer(file)
            columns = ["Image number", "Image", "Image subclass number", "Image subclass", "Image class number"]
            table.writerow([*columns, "Image class"])
            for number in range(images):
                of = "Chromatic noise" if number >= SHARED else "Single words" if number < 40 else "Noise"
                table.writerow([number + 1, f"image_{number}", number // 4 + 1, "kind", 1, of])
