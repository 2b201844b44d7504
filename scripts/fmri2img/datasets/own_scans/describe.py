"""A folder of a lab's scans -> its section of a study, and everything that is wrong with the files.

Files are recognised by their names: tables of events by "events", betas by "betas" or GLMsingle's names, pictures by
their suffix, a mask by "mask", regions by a folder "rois" or "regions", captions by "captions". Labels of subjects,
sessions and runs are those of BIDS (sub-01, ses-01, run-01) or look like them (S1, subj01, day2, run1). What the user
states counts, and is not guessed.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from fmri2img.datasets.described import Described
from fmri2img.datasets.own_files import visible
from fmri2img.datasets.own_scans import layout
from fmri2img.datasets.own_scans.betas import SUFFIXES, open_betas
from fmri2img.datasets.own_scans.events import files_of_betas, read_events
from fmri2img.datasets.own_scans.pictures import Folder
from fmri2img.datasets.own_scans.settings import HELD_OUT, Settings
from fmri2img.datasets.own_scans.tables import read_columns
from fmri2img.datasets.own_scans.validation import Report, validate
from fmri2img.datasets.pictures import SUFFIXES as PICTURES
from fmri2img.errors import UserError

BEFORE, AFTER = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"
LABELS = {  # placeholder -> what its labels look like
    "subject": rf"{BEFORE}(?:sub-[A-Za-z0-9]+|(?:sub|subj|subject|s|p|participant)[-_]?\d+){AFTER}",
    "session": rf"{BEFORE}(?:ses-[A-Za-z0-9]+|(?:ses|sess|session|day|scan)[-_]?\d+){AFTER}",
    "run": rf"{BEFORE}run[-_]?\d+{AFTER}",
}
GLMSINGLE = ("typed_", "typec_", "typeb_")  # in the order in which they are preferred
NOT_BETAS = re.compile(r"mean_?beta|hrf_?index|typea_|r2|noiseceil|ncsnr", re.IGNORECASE)
PICTURE_COLUMNS = (
    "stim_file",
    "stimulus",
    "picture",
    "image",
    "stim",
    "image_id",
    "trial_type",
    "condition",
    "event_type",
)
OTHER_COLUMNS = {"onset", "duration", "session", "ses", "run", "trial", "response_time", "sample"}
NAMED_PICTURES = re.compile(r"stim|image|picture|photo", re.IGNORECASE)
SKIPPED = re.compile(r"figure|logs?$|^work$", re.IGNORECASE)  # folders whose pictures were not shown
NEARLY_ALL = 0.8  # of the pictures
ONE_SUBJECT = "subj01"  # where no path names one
OFTEN = 2  # times the usual number of presentations, from which a picture counts as a test picture
METRICS = ["pixcorr", "ssim", "identification_efficientnet_lite2", "retrieval_image", "retrieval_brain"]
BRAIN = "brain_correlation_visual_cortex"


def describe(folder: Path, given: dict[str, Any]) -> Described:
    """Find the files, complete the section, and check everything. Raises UserError when the folder is not there."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; correct the path")
    found, files = Described(), _files(folder)
    section = {"root": str(folder.resolve()), **given}
    guesses = {
        ("events", "files"): lambda: _one_pattern(files, _is_events, "events.files", "tables of events (*_events.tsv)"),
        ("betas", "files"): lambda: _betas(folder, files),
        ("pictures", "folder"): lambda: _pictures(files),
        ("voxels", "mask"): lambda: _mask(files),
        ("voxels", "regions"): lambda: _regions(files),
        ("pictures", "captions"): lambda: _captions(files),
    }
    for (part, key), guess in guesses.items():
        if key not in section.get(part, {}):
            try:
                value = guess()
            except UserError as error:
                found.problems.append(str(error))
                continue
            section[part] = section.get(part, {}) | ({key: value} if value else {})
    if found.problems:
        return found
    section = {name: part for name, part in section.items() if part != {}}
    try:
        settings = _completed(folder, section, files)
    except UserError as error:
        found.problems.append(str(error))
        return found
    report = validate(settings)
    found.facts, found.notes, found.problems = report.facts, report.notes, report.problems
    if not found.problems:
        sizes = report.sizes.to_dict() if report.sizes else {}
        found.section = settings.model_dump(mode="json", exclude_unset=True) | {"sizes": sizes}
        found.study = _study(settings, report)
    return found


def _files(folder: Path) -> list[str]:
    return [
        path.relative_to(folder).as_posix()
        for path in visible(folder.rglob("*"))
        if path.is_file() and not _hidden(path, folder)
    ]


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


# ---- patterns --------------------------------------------------------------------------------------------------------


def pattern_of(path: str) -> str:
    """The path with placeholders for its labels."""
    for name, label in LABELS.items():
        first = re.search(label, path, re.IGNORECASE)
        if first:
            path = re.sub(rf"{BEFORE}{re.escape(first[0])}{AFTER}", f"{{{name}}}", path)
    return path


def _patterns(files: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(pattern_of(file), []).append(file)
    return found


def _one_pattern(files: list[str], wanted, key: str, what: str) -> str:
    """The pattern of all files of a kind. Raises UserError when there is none, or they have several."""
    patterns = _patterns(file for file in files if wanted(file))
    if not patterns:
        raise UserError(f"no {what} found; put them there, or name them in own_scans.{key}")
    if len(patterns) > 1:
        listed = ", ".join(sorted(patterns)[:4])
        raise UserError(f"{what} have several forms of paths ({listed}); name the one to read in own_scans.{key}")
    return next(iter(patterns))


def _is_events(file: str) -> bool:
    return bool(re.search(r"events?\.(tsv|csv)$", file, re.IGNORECASE))


def _betas(folder: Path, files: list[str]) -> str:
    def wanted(file: str) -> bool:
        name = file.rpartition("/")[2].lower()
        return (
            name.endswith(SUFFIXES)
            and ("beta" in name or name.startswith(GLMSINGLE))
            and not NOT_BETAS.search(
                name.removeprefix("typed_").removeprefix("typec_").removeprefix("typeb_").replace("fithrf", "")
            )
        )

    patterns = _patterns(file for file in files if wanted(file))
    ranks: dict[tuple, list[str]] = {}
    for pattern, own in patterns.items():
        ranks.setdefault(_rank(folder, own[0]), []).append(pattern)
    if not ranks:
        raise UserError(
            "no betas found (*betas* or TYPED_*, as .npy, .hdf5, .h5, .mat, .nii or .nii.gz); put them there, or name "
            "them in own_scans.betas.files"
        )
    best = ranks[min(ranks)]
    if len(best) > 1:
        raise UserError(
            f"betas have several forms of paths ({', '.join(sorted(best)[:4])}); name the one to read in "
            "own_scans.betas.files"
        )
    return best[0]


def _rank(folder: Path, file: str) -> tuple[bool, int]:
    """Files that can be read come first, then GLMsingle's models in their order, then others."""
    name = file.rpartition("/")[2].lower()
    model = next((place for place, start in enumerate(GLMSINGLE) if name.startswith(start)), len(GLMSINGLE))
    try:
        with open_betas(folder / file, None):
            return False, model
    except UserError:
        return True, model


def _pictures(files: list[str]) -> str:
    """The folder whose name says that it holds pictures, and that has most; else the innermost that has nearly all."""
    parents = [
        file.split("/")[:-1]
        for file in files
        if file.lower().endswith(PICTURES) and not any(SKIPPED.search(part) for part in file.split("/")[:-1])
    ]
    if not parents:
        raise UserError("no pictures found; put them into a folder stimuli, or name it in own_scans.pictures.folder")
    counts: dict[str, int] = {}
    for parts in parents:
        for depth in range(len(parts) + 1):
            counts["/".join(parts[:depth])] = counts.get("/".join(parts[:depth]), 0) + 1
    named = [name for name in counts if NAMED_PICTURES.search(name.rpartition("/")[2])]
    if named:
        return max(named, key=lambda name: counts[name])  # the outer one of two with equal counts, which comes first
    return max(name for name in counts if counts[name] >= NEARLY_ALL * len(parents)) or "."


def _is_volume(file: str) -> bool:
    return file.lower().endswith((".nii", ".nii.gz", ".npy"))


def _is_region(file: str) -> bool:
    return _is_volume(file) and bool(re.search(r"(^|/)(rois?|regions?)/", file, re.IGNORECASE))


def _mask(files: list[str]) -> str | None:
    patterns = _patterns(
        file
        for file in files
        if _is_volume(file) and not _is_region(file) and "mask" in file.rpartition("/")[2].lower()
    )
    if len(patterns) > 1:
        listed = ", ".join(sorted(patterns)[:4])
        raise UserError(f"several masks found ({listed}); name the one to use in own_scans.voxels.mask")
    return next(iter(patterns), None)


def _regions(files: list[str]) -> dict[str, str]:
    """Name of a region -> pattern. The name is that of the file without labels of the subject, mask and space."""
    found: dict[str, str] = {}
    for pattern in sorted(_patterns(file for file in files if _is_region(file))):
        name = re.sub(r"\.(nii\.gz|nii|npy)$", "", pattern.rpartition("/")[2], flags=re.IGNORECASE)
        name = re.sub(
            r"\{\w+\}|(space|res|desc)-[A-Za-z0-9]+|label-|(^|_)(mask|roi)(?=_|$)", "", name, flags=re.IGNORECASE
        )
        name = re.sub(r"_+", "_", name).strip("_.-")
        if name in found:
            raise UserError(
                f"region {name} has two forms of paths ({found[name]}, {pattern}); name them in "
                "own_scans.voxels.regions"
            )
        if name:
            found[name] = pattern
    return found


def _captions(files: list[str]) -> str | None:
    found = [file for file in files if re.search(r"captions?\.(tsv|csv|json)$", file, re.IGNORECASE)]
    return found[0] if len(found) == 1 else None


def _test_list(files: list[str]) -> str | None:
    found = [
        file
        for file in files
        if re.search(r"(^|/)test[_-]?(images|pictures|stimuli|set)?\.(txt|tsv|csv)$", file, re.IGNORECASE)
    ]
    return found[0] if len(found) == 1 else None


# ---- what the tables say ---------------------------------------------------------------------------------------------


def _completed(folder: Path, section: dict[str, Any], files: list[str]) -> Settings:
    """The section with the subjects and their sessions, the column of pictures, which events have betas, and what is
    held out. Raises UserError where the tables of events cannot be read."""
    events = section["events"]
    names = layout.subjects(folder, events["files"]) or [ONE_SUBJECT]
    probed = {
        **section,
        "sessions": section.get("sessions") or dict.fromkeys(names, 1),
        "held_out": section.get("held_out") or {"rule": "random"},
    }
    pictures = Folder(folder / section["pictures"]["folder"])
    if "picture" not in events:
        probed["events"] = events | {"picture": _column(folder, events["files"], list(probed["sessions"]), pictures)}
    settings = Settings.read(probed, key="own_scans")
    tables = {subject: read_events(folder, subject, settings) for subject in settings.sessions}
    if "sessions" not in section:
        probed["sessions"] = {subject: int(table["session"].max()) for subject, table in tables.items()}
    if "of" not in section["betas"]:
        probed["betas"] = section["betas"] | {"of": _modelled(folder, settings, tables)}
    if "held_out" not in section:
        probed["held_out"] = _rule(files, tables)
    return Settings.read(probed, key="own_scans")


def _column(folder: Path, pattern: str, subjects: list[str], pictures: Folder) -> str:
    """The column whose values name most different pictures: one of the usual names if any of them does, because the
    number of a run or trial may also be that of a picture. Raises UserError when none does."""
    found = [found for subject in subjects for found in layout.find(folder, pattern, subject)[:1]]
    table = read_columns(found[0].path) if found else pd.DataFrame()
    named = {
        name: len({value for value in table[name].unique() if len(pictures.meant(value)) == 1})
        for name in table
        if name not in OTHER_COLUMNS
    }
    usual = [name for name in PICTURE_COLUMNS if named.get(name)]
    if not any(named.values()):
        where = found[0].path if found else folder / pattern
        raise UserError(
            f"{where}: no column names pictures of {pictures.path} (columns: {', '.join(table.columns) or 'none'}); "
            "name the column in own_scans.events.picture, or put the pictures there"
        )
    return max(usual or named, key=lambda name: named[name])


def _modelled(folder: Path, settings: Settings, tables: dict[str, pd.DataFrame]) -> str:
    """Whether the betas are those of all events: where their number says so, and not that of events with a picture."""
    for subject, events in tables.items():
        try:
            for path, rows in files_of_betas(folder, subject, settings, events):
                with open_betas(path, settings.betas.variable) as betas:
                    lengths = {betas.shape[0], betas.shape[-1]}
                own = events.loc[rows, ["session", "run"]].drop_duplicates()
                every = len(events.merge(own, on=["session", "run"]))
                if int(rows.sum()) in lengths or every not in lengths:
                    return "pictures"
        except UserError:
            return "pictures"
    return "events"


def _rule(files: list[str], tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """What is held out: a list in the folder, else pictures that were shown more often than most, else a tenth."""
    listed = _test_list(files)
    if listed:
        return {"rule": "listed", "lists": {HELD_OUT: listed}}
    counts = pd.concat([table.loc[~table["blank"], "value"].value_counts() for table in tables.values()])
    often = counts[counts >= OFTEN * counts.median()]
    if len(often) > 1 and len(often) < len(counts) / 2 and often.min() > 1:
        return {"rule": "repeated", "repeats": int(often.min())}
    return {"rule": "random", "share": 0.1, "seed": 0}


def _study(settings: Settings, report: Report) -> dict[str, Any]:
    """The other keys of a first study: ridge between its floor and its ceilings, scored by what the data allow."""
    ceilings = ["repeat_ceiling"] if report.repeated_tests else []
    metrics = [*METRICS, BRAIN, *([f"{BRAIN}_normalised"] if report.repeats else [])]
    return {
        "subjects": list(settings.sessions),
        "sessions": ["all"] if max(settings.sessions.values()) == 1 else [1, "all"],
        "seeds": [0],
        "split": HELD_OUT,
        "methods": ["ridge", "ridge_nearest_neighbour", "ridge_shuffled_brain", *ceilings, "true_tokens"],
        "retrieval_only": [],
        "budgets": {},
        "metrics": metrics,
        "encoding": {"model": "banded_ridge"},
    }
