"""Tables of stimuli, and the lists of MOSAIC's own split.

`stimulus_info/<dataset>.tsv` has a row for each stimulus of a dataset: filename, alias (another name of the file),
source (where the picture comes from), test_train (its part in the dataset's own split), sub-01_reps, ... (how often a
subject saw it).

The lists of the filtered split are JSON, with the trials of each stimulus that a subject saw:

    [{"sub-01_NSD_stimulus-000000000285.jpg": ["sub-01_NSD_stimulus-000000000285_phase-train_rep-0.npz", ...]}, ...]

They end in .npz, which the betas' names do not. A stimulus is in the list of at most one part, for all subjects of a
dataset or for none: MOSAIC leaves a stimulus out of one of two datasets that disagree on its part, and leaves out
training stimuli that resemble a test stimulus (DreamSim, cosine above 0.8196). From the code that made the lists
(make_testtrain_splits.py); a published list was not seen.
"""

import json
import re
from pathlib import Path

import pandas as pd

from fmri2img.datasets.mosaic import layout
from fmri2img.errors import UserError
from fmri2img.integrity import ABSENT
from fmri2img.reading import readable

COLUMNS = ["filename", "alias", "source", "test_train"]
ARTIFICIAL = ("NSDsynthetic", "Artificial")  # sources
ID_RANGE = 100_000  # image_ids kept for each dataset
REPLACE = "replace it, or delete it to download it again"
ENTRY = re.compile(r"(?P<subject>sub-\d{2}_\w+?)_stimulus-(?P<filename>.+)")


def read_stimuli(path: str | Path, constituent: str) -> pd.DataFrame:
    """Rows of one dataset's table: filename, alias ("" where there is none), source, test_train, and <subject> columns.

    A column of the name of each subject (sub-01_NSD) says how often it saw the stimulus. Raises UserError when the file
    is damaged or has other columns.
    """
    with readable(path, "a table of MOSAIC's stimuli", REPLACE, ABSENT):
        table = pd.read_csv(path, sep="\t", dtype=dict.fromkeys(COLUMNS, str), keep_default_na=False)
    subjects = [name for name in layout.SUBJECTS if layout.constituent_of(name) == constituent]
    shown = {f"{name.partition('_')[0]}_reps": name for name in subjects}
    lacking = [name for name in (*COLUMNS, *shown) if name not in table]
    if lacking:
        raise UserError(f"{path}: has no column {lacking[0]}, only {', '.join(table)}; {REPLACE}")
    table = table[[*COLUMNS, *shown]].rename(columns=shown)
    table["alias"] = table["alias"].where(~table["alias"].str.lower().isin(["n/a", "nan"]), "")
    if not table["filename"].is_unique:
        twice = table.loc[table["filename"].duplicated(), "filename"].iloc[0]
        raise UserError(f"{path}: lists {twice} twice; {REPLACE}")
    wrong = set(table["test_train"]) - {"train", "test"}
    if wrong:
        raise UserError(f"{path}: test_train has '{min(wrong)}', which is neither train nor test; {REPLACE}")
    counts = table[subjects].apply(pd.to_numeric, errors="coerce")
    if counts.isna().any(axis=None) or (counts < 0).any(axis=None) or (counts % 1 != 0).any(axis=None):
        raise UserError(f"{path}: the columns sub-XX_reps must be whole numbers; {REPLACE}")
    table[subjects] = counts.astype(int)
    return table


def seen_stimuli(tables: dict[str, pd.DataFrame], subjects: list[str]) -> pd.DataFrame:
    """Stimuli that some of these subjects saw, in the order of the datasets and of file names.

    tables: constituent -> `read_stimuli`. Columns: image_id (the same in every study: 100,000 for each dataset before,
    and the position in the alphabetical order of its table), name (<constituent>/<filename>), constituent, filename,
    alias, source, test_train, and how often each of the subjects saw it, in a column of the subject's name.
    """
    parts = []
    for constituent, table in tables.items():
        own = [name for name in subjects if layout.constituent_of(name) == constituent]
        ordered = table.sort_values("filename", ignore_index=True)
        first = ID_RANGE * list(layout.CONSTITUENTS).index(constituent)
        parts.append(
            ordered.assign(image_id=first + ordered.index, constituent=constituent, shown=ordered[own].sum(axis=1) > 0)
        )
    every = pd.concat(parts, ignore_index=True).sort_values("image_id", ignore_index=True)
    every.insert(1, "name", every["constituent"] + "/" + every["filename"])
    every[subjects] = every[subjects].fillna(0).astype(int)  # those of other constituents
    return every.loc[every["shown"], ["image_id", "name", "constituent", *COLUMNS, *subjects]].reset_index(drop=True)


def is_artificial(stimuli: pd.DataFrame) -> pd.Series:
    return stimuli["source"].isin(ARTIFICIAL)


def published_parts(stimuli: pd.DataFrame) -> pd.Series:
    """The part of each stimulus in its dataset's own split: train, naturalistic or artificial; unused where datasets
    disagree: a picture that one dataset tests is not trained on in another.
    """
    tested = stimuli["test_train"] == "test"
    parts = pd.Series("train", stimuli.index).mask(tested, "naturalistic").mask(is_artificial(stimuli), "artificial")
    elsewhere = stimuli["filename"].isin(stimuli.loc[tested, "filename"])
    return parts.mask((parts == "train") & elsewhere, "unused")


def filtered_parts(stimuli: pd.DataFrame, lists: dict[str, str | Path]) -> pd.Series:
    """The part of each stimulus in MOSAIC's split; unused where it is in no list.

    lists: part (train, naturalistic, artificial) -> its file. Raises UserError when a file is damaged, when a stimulus
    is in two lists, when a list has none of these stimuli, or names one of another part of its dataset's split.
    """
    parts = pd.Series("unused", stimuli.index)
    for part, path in lists.items():
        listed = read_list(path)
        here = stimuli["name"].isin(listed)
        twice = here & (parts != "unused")
        if twice.any():
            name = stimuli.loc[twice, "name"].iloc[0]
            raise UserError(f"{path}: lists {name}, which another part of the split has too; replace the lists")
        wrong = here & (stimuli["test_train"] != ("train" if part == "train" else "test"))
        if wrong.any():
            name, stated = stimuli.loc[wrong, ["name", "test_train"]].iloc[0]
            raise UserError(f"{path}: lists {name}, whose part is {stated} in its dataset's table; replace the lists")
        parts = parts.mask(here, part)
    for part in ("train", "naturalistic"):
        if not (parts == part).any():
            raise UserError(
                f"{lists[part]}: lists none of the {len(stimuli)} stimuli of this study; replace it, or use split "
                "published"
            )
    return parts


def read_list(path: str | Path) -> set[str]:
    """Names (<constituent>/<filename>) of the stimuli in one list of MOSAIC's split. Raises UserError."""
    with readable(path, "a list of MOSAIC's split", REPLACE, ABSENT):
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(content, list):
            raise ValueError(f"it holds a {type(content).__name__}")
        names = set()
        for entry in content:
            ((key, trials),) = entry.items()
            found = ENTRY.fullmatch(key)
            if found is None or not isinstance(trials, list):
                raise ValueError(f"it has the entry '{key}'")
            names.add(f"{layout.constituent_of(found['subject'])}/{found['filename']}")
    return names
