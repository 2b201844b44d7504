"""What is wrong with a lab's files, all of it at once and before any job, and what is worth knowing of them."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fmri2img.datasets.dataset import Sizes
from fmri2img.datasets.own_scans import layout
from fmri2img.datasets.own_scans.betas import open_betas
from fmri2img.datasets.own_scans.captions import read_captions
from fmri2img.datasets.own_scans.events import (
    files_of_betas,
    in_order,
    problems_of_order,
    read_table,
)
from fmri2img.datasets.own_scans.held_out import held_out
from fmri2img.datasets.own_scans.order import FITS, MISPLACED, fit_of_order
from fmri2img.datasets.own_scans.pictures import Compared, Folder, leaked, message_of_leak
from fmri2img.datasets.own_scans.recording import named, of_file, problem_of_count, problem_of_grids, unnamed
from fmri2img.datasets.own_scans.settings import Settings
from fmri2img.datasets.own_scans.voxels import places_of, read_mask, region_column, selected
from fmri2img.datasets.pictures import CROP, read_picture
from fmri2img.errors import UserError
from fmri2img.settings.base import nearest

FEW_TESTED, FEW_TRAINED, FEW_REPEATED = 20, 100, 10  # pictures, below which a note says so
LOST_SHARE = 0.1  # of voxels that are left out, above which a note says so
SAMPLED = 1000  # voxels with which the order of trials is checked
WHOLE_BRAIN = 50_000  # voxels without a mask, above which a note says so
LISTED = 3


@dataclass
class Report:
    """problems: what must be mended, each a line with its remedy; notes: what is worth knowing; facts: what is there.

    sizes: rough sizes for the study, where files could be read; repeats: whether noise ceilings can be estimated;
    repeated_tests: whether every subject saw its test pictures more than once.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    sizes: Sizes | None = None
    repeats: bool = False
    repeated_tests: bool = False

    @contextmanager
    def step(self) -> Iterator[None]:
        """A part whose UserError is a problem, after which the next part follows."""
        try:
            yield
        except UserError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))


@dataclass
class Checked:
    """What was read of a subject: events with the names of their pictures, number of its voxels."""

    events: pd.DataFrame
    voxels: int = 0


def validate(settings: Settings) -> Report:
    """Read all files of a lab's scans and report everything that is wrong with them."""
    report, root, folder = Report(), Path(settings.root), None
    with report.step():
        folder = Folder(root / settings.pictures.folder)
    subjects: dict[str, Checked] = {}
    for subject in settings.sessions:
        with report.step():
            subjects[subject] = _check_subject(report, root, subject, settings, folder)
    if folder is None or len(subjects) < len(settings.sessions):
        return report
    shown = {}
    for name, one in subjects.items():
        used = ~one.events["blank"] & (one.events["session"] <= settings.sessions[name])
        shown[name] = one.events.loc[used, "name"]
    if any(not names.all() for names in shown.values()):
        return report  # the pictures of some events are not known
    tested: dict[str, list[str]] = {}
    with report.step():
        tested = held_out(root, settings.held_out, folder, shown)
    every = {name for own in tested.values() for name in own}
    _check_pictures(report, settings, folder, sorted(set().union(*map(set, shown.values()))), every)
    if settings.pictures.captions:
        with report.step():
            _check_captions(report, root / settings.pictures.captions, folder, shown, every)
    if every:
        _check_parts(report, settings, subjects, tested)
    report.sizes = Sizes(
        images=len(set().union(*map(set, shown.values()))),
        image_size=settings.pictures.size,
        test_images=max(1, len(every)),
        session_trials=max(1, max(len(names) // settings.sessions[one] for one, names in shown.items())),
        voxels=max(1, *(one.voxels for one in subjects.values())) if subjects else 1,
    )
    return report


# ---- one subject -----------------------------------------------------------------------------------------------------


def _check_subject(report: Report, root: Path, subject: str, settings: Settings, folder: Folder | None) -> Checked:
    """Check a subject's files. Raises UserError where the others cannot be checked without the events."""
    files = layout.find(root, settings.events.files, subject)
    if not files:
        raise UserError(layout.nothing_found(root, settings.events.files, subject, "events"))
    tables, before = [], len(report.problems)
    for found in files:
        with report.step():
            tables.append(read_table(found, settings))
    if len(report.problems) > before:
        raise UserError(f"{subject}: its betas are not checked before its tables of events can be read; correct these")
    events = in_order(pd.concat(tables, ignore_index=True))
    report.problems += problems_of_order(events)
    unsorted = [one["file"].iloc[0] for one in tables if len(one) and not one["onset"].is_monotonic_increasing]
    if unsorted:
        report.notes.append(f"{unsorted[0]}: rows are not in the order of onsets; they are sorted, as GLMsingle does")
    stated = settings.sessions[subject]
    if events["session"].max() < stated:
        report.problems.append(
            f"own_scans.sessions: {stated} of {subject}, but its tables of events have {events['session'].max()}; "
            "correct the key, or add the tables"
        )
    names_known = False
    if folder is not None:
        wrong = unnamed(events, folder)
        report.problems += [wrong] if wrong else []
        names_known = wrong is None
    events = named(events, folder) if names_known else events.assign(name="")
    if events["blank"].all():
        raise UserError(
            f"{files[0].path}: no event has a picture in column '{settings.events.picture}'; set "
            "own_scans.events.picture"
        )
    checked = Checked(events)
    mask, mask_known = None, False
    with report.step():
        mask = read_mask(root, subject, settings)
        mask_known = True
    with report.step():
        checked.voxels = _check_betas(report, root, subject, settings, events, mask, mask_known)
    _describe(report, subject, checked)
    return checked


def _check_betas(
    report: Report, root: Path, subject: str, settings: Settings, events: pd.DataFrame, mask: np.ndarray | None,
    mask_known: bool,
) -> int:  # fmt: skip
    """Check a subject's betas, and mask and regions with them; returns the number of voxels that can be used."""
    files = files_of_betas(root, subject, settings, events)
    grid: tuple[int, ...] | None = None
    first, usable = files[0][0], None
    hashes: dict[str, Path] = {}
    sampled: list[np.ndarray] = []
    for path, rows in files:
        with report.step(), open_betas(path, settings.betas.variable) as betas:
            expected = int(rows.sum())
            if problem := problem_of_count(betas, expected, of_file(events, rows), settings.betas.of):
                raise UserError(problem)
            own = betas.grid(expected)
            if grid is None:
                grid, first = own, path
            if own != grid:
                raise UserError(problem_of_grids(path, own, first, grid))
            if not mask_known:
                continue
            block = betas.read(expected, selected(mask, grid, str(_mask_file(root, subject, settings))))
            digest = hashlib.sha256(block).hexdigest()
            if digest in hashes:
                raise UserError(f"{path}: has the same betas as {hashes[digest]}; replace one of them")
            hashes[digest] = path
            _check_values(path, block, events[rows])
            varying = np.isfinite(block).all(axis=0) & (
                block.max(axis=0, initial=-np.inf) > block.min(axis=0, initial=np.inf)
            )
            usable = varying if usable is None else usable & varying
            sampled.append(_sample(block[~events.loc[rows, "blank"].to_numpy()]))
    if grid is None or usable is None:
        return 0
    _check_voxels(report, root, subject, settings, mask, grid, usable)
    if len(sampled) == len(files):
        _check_order(report, subject, np.concatenate(sampled), events[~events["blank"]])
    return int(usable.sum())


def _mask_file(root: Path, subject: str, settings: Settings) -> Path | None:
    return layout.one_file(root, settings.voxels.mask, subject) if settings.voxels.mask else None


def _check_values(path: Path, block: np.ndarray, events: pd.DataFrame) -> None:
    """Raise UserError when a trial has no values."""
    with np.errstate(invalid="ignore"):
        empty = np.flatnonzero(~np.isfinite(block).any(axis=1) | (block == 0).all(axis=1))
    if len(empty):
        event = events.iloc[empty[0]]
        what = "0" if np.isfinite(block[empty[0]]).any() else "NaN"
        raise UserError(
            f"{path}: beta {empty[0] + 1}, of run {event['run']} at {event['onset']:g} s, is {what} in every voxel "
            f"({len(empty)} of {len(block)} betas are empty); remove what could not be estimated from design and "
            "events, and run GLMsingle again"
        )


def _sample(block: np.ndarray) -> np.ndarray:
    """Some voxels of betas (trials, voxels), the same of every file, z-scored within it, or 0 where that cannot be."""
    some = block[:, :: max(1, block.shape[1] // SAMPLED)].astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (some - some.mean(axis=0)) / some.std(axis=0)
    return np.where(np.isfinite(z).all(axis=0), z, 0).astype(np.float32)


def _check_order(report: Report, subject: str, betas: np.ndarray, shown: pd.DataFrame) -> None:
    """Whether repeated pictures have like responses, and if not, whether they have after a shift of the pictures."""
    runs = (shown["session"] * len(shown) + shown["run"]).to_numpy()
    fits = fit_of_order(betas, shown["value"].to_numpy(), runs)
    if not fits or fits.get(0, 0) >= FITS:
        return
    best = max(fits, key=fits.__getitem__)
    if fits[best] >= MISPLACED:
        where = f"{abs(best)} {'before' if best > 0 else 'after'}"
        report.problems.append(
            f"{subject}: each beta fits the picture {where} its own: only so are responses to repeated pictures alike "
            f"({fits[best]:.0f} standard deviations from chance, {fits.get(0, 0):.0f} as they are); a beta or an event "
            "is missing at the beginning, or one too many: give betas and tables of the same events"
        )
    elif 0 in fits:
        report.notes.append(
            f"{subject}: responses to repeated pictures are hardly more alike than others ({fits[0]:.1f} standard "
            "deviations from chance); check the order of runs in betas and events, and the mask"
        )


def _check_voxels(
    report: Report, root: Path, subject: str, settings: Settings, mask: np.ndarray | None, grid: tuple[int, ...],
    usable: np.ndarray,
) -> None:  # fmt: skip
    """Notes on voxels without values, and problems of regions."""
    where = _mask_file(root, subject, settings)
    if not usable.any():
        report.problems.append(
            f"{subject}: no voxel of {where or 'its betas'} has finite values that vary in every session; give another "
            "mask, or replace the betas"
        )
        return
    lost = len(usable) - int(usable.sum())
    if where and lost > LOST_SHARE * len(usable):
        report.notes.append(
            f"{subject}: {lost:,} of the {len(usable):,} voxels of {where} have NaN or do not vary, and are left out"
        )
    if not where and usable.sum() > WHOLE_BRAIN:
        report.notes.append(
            f"{subject}: {int(usable.sum()):,} voxels and no mask; a mask of visual cortex (own_scans.voxels.mask) "
            "saves memory and noise"
        )
    places, shape = places_of(mask, grid, settings.voxels.order)
    for pattern in settings.voxels.regions.values():
        with report.step():
            path = layout.one_file(root, pattern, subject)
            if not region_column(path, places, shape)[usable].any():
                raise UserError(f"{path}: none of its voxels has values; correct it, or leave the region out")


def _describe(report: Report, subject: str, checked: Checked) -> None:
    events = checked.events
    shown = events[~events["blank"]]
    runs = len(events[["session", "run"]].drop_duplicates())
    sessions = events["session"].nunique()
    repeats = shown.groupby("name" if shown["name"].all() else "value").size().value_counts().sort_index()
    times = ", ".join(f"{number} {_times(count)}" for count, number in repeats.items())
    blank = int(events["blank"].sum())
    fact = f"{subject}: {sessions} session{'s' * (sessions > 1)}, {runs} run{'s' * (runs > 1)}, {len(shown)} trials of "
    fact += f"{repeats.sum()} pictures ({times})"
    fact += f", {blank} blanks" if blank else ""
    report.facts.append(fact + (f"; {checked.voxels:,} voxels" if checked.voxels else ""))


def _times(count: int) -> str:
    return "shown " + {1: "once", 2: "twice"}.get(count, f"{count} times")


# ---- pictures and parts ----------------------------------------------------------------------------------------------


def _check_pictures(report: Report, settings: Settings, folder: Folder, names: list[str], tested: set[str]) -> None:
    """Damaged pictures, the same picture under two names, and what becomes of their shapes."""
    pictures, readable, oblong = settings.pictures, [], 0
    compared = Compared([])
    for name in names:
        with report.step():
            pixels = read_picture(folder.files[name], pictures.size, pictures.fit, pictures.background)
            with Image.open(folder.files[name]) as image:
                oblong += image.width != image.height
            readable.append(name)
            compared.add(pixels)
    compared.names = readable
    same = compared.same()
    if groups := leaked(same, tested):
        report.problems.append(message_of_leak(folder.path, groups[0], tested, len(groups)))
    harmless = [group for group in same if group not in leaked(same, tested)]
    if harmless:
        report.notes.append(
            f"{folder.path}: {' and '.join(harmless[0][:2])} have the same pixels ({len(harmless)} such groups); they "
            "count as different pictures, and not as repeats"
        )
    if pairs := compared.alike(tested):
        shown = "; ".join(f"{test} and {train}" for test, train in pairs[:LISTED])
        report.notes.append(
            f"{folder.path}: {len(pairs)} tested pictures look like one that is trained on: {shown}; if they are the "
            "same picture, name one file in all events"
        )
    if oblong and pictures.fit == CROP:
        report.notes.append(
            f"{folder.path}: {oblong} of {len(names)} pictures are not square, and their middle is used; set "
            "own_scans.pictures.fit to pad to keep all of them"
        )
    sources = sorted({folder.source(name) for name in names})
    for source in pictures.sources.keys() - set(sources):
        report.problems.append(
            f"own_scans.pictures.sources: '{source}' is not a folder of {folder.path} with pictures that were shown; "
            f"{nearest(source, sources, 'there are')}"
        )
    never = len(folder.names) - len(names)
    report.facts.append(
        f"{len(names)} pictures were shown" + (f", {never} others of the folder never" if never else "")
    )


def _check_captions(report: Report, path: Path, folder: Folder, shown: dict[str, pd.Series], tested: set[str]) -> None:
    captions = read_captions(path, folder)
    without = sorted(set().union(*map(set, shown.values())) - captions.keys())
    bare = [name for name in without if name in tested]
    if bare:
        raise UserError(
            f"{path}: has no caption of {bare[0]}, which is tested ({len(bare)} of {len(tested)} have none); add them, "
            "or set own_scans.pictures.captions to null"
        )
    if without:
        report.notes.append(f"{path}: {len(without)} pictures that are trained on have no caption")


def _check_parts(
    report: Report, settings: Settings, subjects: dict[str, Checked], tested: dict[str, list[str]]
) -> None:
    """What is tested and what is trained on, and whether there are repeats, of every subject."""
    every = {name for own in tested.values() for name in own}
    report.repeats, report.repeated_tests = True, True
    for subject, checked in subjects.items():
        shown = checked.events[~checked.events["blank"] & (checked.events["session"] <= settings.sessions[subject])]
        test = shown[shown["name"].isin(every)]
        for name, own in tested.items():
            count = test.loc[test["name"].isin(own), "name"].nunique()
            if count < 2:
                report.problems.append(
                    f"{subject}: saw {count} pictures of test set {name}, and 2 are needed; hold out pictures that all "
                    "subjects saw (own_scans.held_out)"
                )
        train = shown[~shown["name"].isin(every)]
        fewest = train.groupby("session").size().reindex(range(1, settings.sessions[subject] + 1), fill_value=0)
        if settings.betas.normalise == "session" and (fewest < 2).any():
            session = int((fewest < 2).idxmax())
            report.problems.append(
                f"{subject}: session {session} has {int(fewest[session])} trials to train on, too few for a standard "
                "deviation; set own_scans.betas.normalise to pooled, or hold out other pictures"
            )
        repeats = shown["name"].value_counts()
        report.repeats &= bool((repeats > 1).sum() > 1)
        report.repeated_tests &= bool((test["name"].value_counts() > 1).all())
        report.notes += _notes_of_parts(subject, train["name"].nunique(), test["name"].nunique(), repeats)
        report.facts.append(
            f"{subject}: {train['name'].nunique()} pictures are trained on ({len(train)} trials), "
            f"{test['name'].nunique()} are tested ({len(test)} trials)"
        )


def _notes_of_parts(subject: str, trained: int, tested: int, repeats: pd.Series) -> Iterator[str]:
    repeated = int((repeats > 1).sum())
    if tested < FEW_TESTED:
        yield f"{subject}: {tested} test pictures are few; intervals of scores will be wide"
    if trained < FEW_TRAINED:
        yield f"{subject}: {trained} pictures to train on are few; expect scores near those of the controls"
    if repeated < 2:
        yield (
            f"{subject}: {repeated} pictures were shown more than once, so noise ceilings (ncsnr) are not known and "
            "brain correlation is not normalised"
        )
    elif repeated < FEW_REPEATED:
        yield f"{subject}: noise ceilings (ncsnr) come from {repeated} repeated pictures alone, and are rough"
