"""One subject's betas and tables of events -> Recording."""

from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.artifacts.recording import Recording
from fmri2img.artifacts.splits import TRAIN, Split
from fmri2img.artifacts.test_images import TestImages
from fmri2img.datasets import checksums
from fmri2img.datasets.normalise import noise_ceiling, normalised
from fmri2img.datasets.own_scans import layout
from fmri2img.datasets.own_scans.betas import Betas, open_betas
from fmri2img.datasets.own_scans.events import counts, files_of_betas, problems_of_order, read_events
from fmri2img.datasets.own_scans.pictures import Folder
from fmri2img.datasets.own_scans.settings import Settings
from fmri2img.datasets.own_scans.voxels import places_of, read_mask, region_column, selected, voxel_table
from fmri2img.errors import UserError

UNKNOWN_CEILING = "not known (0): fewer than two pictures were shown more than once"


def named(events: pd.DataFrame, folder: Folder) -> pd.DataFrame:
    """Events with the name of their picture, "" for blanks. Raises UserError for the problem of `unnamed`."""
    if problem := unnamed(events, folder):
        raise UserError(problem)
    meant = {value: folder.named(value) for value in events.loc[~events["blank"], "value"].unique()}
    return events.assign(name=events["value"].where(~events["blank"]).map(meant).fillna(""))


def unnamed(events: pd.DataFrame, folder: Folder) -> str | None:
    """The problem of values that do not mean one picture, of all tables together; None where all do."""
    pictures = events[~events["blank"]]
    meant = {value: len(folder.meant(value)) == 1 for value in pictures["value"].unique()}
    wrong = pictures[~pictures["value"].map(meant).astype(bool)]
    if wrong.empty:
        return None
    tables, first = wrong["file"].nunique(), wrong.iloc[0]
    others = f" and {tables - 1} other tables" if tables > 1 else ""
    also = f" ({len(wrong)} events, {wrong['value'].nunique()} such values)"
    return f"{first['file']}{others}: {folder.path} {folder.wrong(first['value'])}{also}"


def problem_of_count(betas: Betas, expected: int, events: pd.DataFrame, of: str) -> str | None:
    """What is wrong where a file of betas has another number of trials than there are events, and the likely reason.

    expected: betas that there should be; events: those of the file's session or run.
    """
    shape = betas.shape
    if len(shape) not in (2, 4):
        return f"{betas.path}: betas of shape {shape}, expected (X, Y, Z, trials) or (voxels, trials); save them so"
    if expected in (shape[0], shape[-1]):
        return None
    pictures, every = int((~events["blank"]).sum()), len(events)
    begun = events.loc[~events["blank"], "value"].nunique()
    found = shape[-1]
    if of == "pictures" and every in (shape[0], found):
        remedy = "that is the number of all events, blanks too: set own_scans.betas.of to events"
    elif of == "events" and pictures in (shape[0], found):
        remedy = "that is the number of events with a picture: set own_scans.betas.of to pictures"
    elif found == begun:
        remedy = "that is the number of different pictures: these are averages; use GLMsingle's single-trial betas"
    elif found == 1:
        remedy = "that is one beta for all events, as in GLMsingle's TYPEA_ONOFF; use the single-trial betas (TYPED)"
    elif found > expected and expected and found % expected == 0:
        remedy = (
            f"that is {found // expected} for each event: the design matrix marks every volume of a picture, and "
            "GLMsingle takes each mark for an onset; mark the first alone and run it again"
        )
    else:
        remedy = "give GLMsingle's betas of exactly these runs, and the tables of exactly these events"
    return f"{betas.path}: {found} betas, but its tables have {counts(events)}; {remedy}"


def read_betas(
    files: list[tuple[Path, np.ndarray]], events: pd.DataFrame, mask: np.ndarray | None, settings: Settings
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Betas of the events with a picture, float32 (trials, voxels), and the grid of the files.

    files: of `files_of_betas`. Raises UserError.
    """
    blocks, grid = [], None
    for path, rows in files:
        with open_betas(path, settings.betas.variable) as betas:
            if problem := problem_of_count(betas, int(rows.sum()), of_file(events, rows), settings.betas.of):
                raise UserError(problem)
            if grid is None:
                grid, first = betas.grid(int(rows.sum())), path
            if betas.grid(int(rows.sum())) != grid:
                raise UserError(problem_of_grids(path, betas.grid(int(rows.sum())), first, grid))
            block = betas.read(int(rows.sum()), selected(mask, grid, str(settings.voxels.mask)))
        blocks.append(block[~events.loc[rows, "blank"].to_numpy()])
    return np.concatenate(blocks), grid


def of_file(events: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """All events of the sessions and runs that some of them belong to."""
    keys = ["session", "run"]
    return events.merge(events.loc[rows, keys].drop_duplicates(), on=keys)


def problem_of_grids(path: Path, grid: tuple[int, ...], first: Path, expected: tuple[int, ...]) -> str:
    return (
        f"{path}: grid {grid}, but {first} has {expected}; bring all sessions of a subject to one grid, and run "
        "GLMsingle on that"
    )


def write_recording(subject: str, settings: Settings, folder: Folder, split: Split, output: str | Path) -> TestImages:
    """Z-score a subject's betas, write the Recording and return its test images. Raises UserError."""
    root = Path(settings.root)
    events = named(read_events(root, subject, settings), folder)
    for problem in problems_of_order(events):
        raise UserError(problem)
    files = files_of_betas(root, subject, settings, events)
    mask = read_mask(root, subject, settings)
    betas, grid = read_betas(files, events, mask, settings)
    trials, used = trials_of(events, subject, settings, folder, split)
    betas = betas[used]
    fitted = (trials["part"] == TRAIN).to_numpy() | (settings.betas.statistics == "all")
    z, keep, left_out = normalised(
        betas, trials["session"].to_numpy(), fitted, settings.betas.normalise, f"betas of {subject}"
    )
    places, shape = places_of(mask, grid, settings.voxels.order)
    voxels = voxel_table(places[keep])
    ids = trials["image_id"].to_numpy()
    voxels["ncsnr"] = noise_ceiling(z, ids)
    for name, pattern in settings.voxels.regions.items():
        voxels[name] = region_column(layout.one_file(root, pattern, subject), places, shape)[keep]
    repeated = int((trials["image_id"].value_counts() > 1).sum())
    with Recording.writer(output) as recording:
        recording.betas(*z.shape)[:] = z
        metadata = {
            "subject": subject,
            **split.identity,
            "betas": settings.betas.to_dict(),
            "n_sessions": int(trials["session"].max()),
            "voxels_left_out": left_out,
            "ncsnr": f"from {repeated} pictures shown more than once" if repeated > 1 else UNKNOWN_CEILING,
            "sources_sha256": checksums.checksums({str(path.relative_to(root)): path for path, _ in files}),
        }
        recording.finish(trials, voxels, metadata)
    print(f"{subject}: {len(trials)} trials, {len(voxels)} voxels; left out of them: {left_out}")
    print(f"{subject}: noise ceilings {metadata['ncsnr']}")
    return TestImages.of(subject, split, ids, trials["session"].to_numpy())


def trials_of(
    events: pd.DataFrame, subject: str, settings: Settings, folder: Folder, split: Split
) -> tuple[pd.DataFrame, np.ndarray]:
    """The table of trials of the sessions that the study states, and which of all trials they are, bool.

    Raises UserError when there are fewer sessions.
    """
    shown = events[~events["blank"]].reset_index(drop=True)
    stated = settings.sessions[subject]
    if shown["session"].max() < stated:
        raise UserError(
            f"own_scans.sessions: {stated} of {subject}, but its tables of events have {shown['session'].max()}; "
            "correct the key, or add the tables"
        )
    used = (shown["session"] <= stated).to_numpy()
    places = {name: number for number, name in enumerate(folder.names)}
    trials = shown.loc[used, ["session", "run", "onset"]].reset_index(drop=True)
    trials.insert(0, "trial", np.flatnonzero(used))
    trials["image_id"] = shown.loc[used, "name"].map(places).to_numpy(np.int64)
    trials["repeat"] = trials.groupby("image_id").cumcount()
    trials["part"] = split.assign(trials["image_id"].to_numpy(), trials["session"].to_numpy())
    return trials, used
