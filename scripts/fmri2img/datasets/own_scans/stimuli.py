"""Pictures, captions and the rule of what is held out -> Stimuli and the split."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from fmri2img.artifacts.splits import Split
from fmri2img.artifacts.stimuli import save_stimuli
from fmri2img.datasets.own_scans.captions import read_captions
from fmri2img.datasets.own_scans.events import read_events
from fmri2img.datasets.own_scans.held_out import held_out
from fmri2img.datasets.own_scans.pictures import Compared, Folder, leaked, message_of_leak
from fmri2img.datasets.own_scans.recording import named
from fmri2img.datasets.own_scans.settings import HELD_OUT, Settings
from fmri2img.datasets.pictures import picture_blocks
from fmri2img.errors import UserError


def write_stimuli(settings: Settings, subjects: list[str], output: str | Path) -> Split:
    """Write the Stimuli of the pictures that these subjects saw, and return the split. Raises UserError.

    image_id is the place of a picture among all of the folder, in alphabetical order. What is held out depends on all
    subjects of the dataset.
    """
    root = Path(settings.root)
    folder = Folder(root / settings.pictures.folder)
    shown = {subject: pictures_of(root, subject, settings, folder) for subject in settings.sessions}
    tested = held_out(root, settings.held_out, folder, shown)
    seen = set().union(*(set(shown[subject]) for subject in subjects))
    ids = np.array([number for number, name in enumerate(folder.names) if name in seen])
    names = [folder.names[number] for number in ids]
    captions = read_captions(root / settings.pictures.captions, folder) if settings.pictures.captions else {}
    table = pd.DataFrame(
        {
            "image_id": ids,
            "name": names,
            "source": [folder.source(name) for name in names],
            "captions": [captions.get(name, []) for name in names],
            "categories": [[] for _ in names],
            "cluster": None,
        }
    )
    places = {name: number for number, name in enumerate(folder.names)}
    save_stimuli(output, _checked(settings, folder, names, tested), table, {"seen_by": subjects})
    test_sets = {
        name: [places[picture] for picture in pictures if picture in seen] for name, pictures in tested.items()
    }
    return Split(HELD_OUT, f"test: {describe(settings, sum(map(len, test_sets.values())))}", test_sets)


def pictures_of(root: Path, subject: str, settings: Settings, folder: Folder) -> pd.Series:
    """The picture of each trial of a subject, in the sessions that the study states."""
    events = named(read_events(root, subject, settings), folder)
    return events.loc[~events["blank"] & (events["session"] <= settings.sessions[subject]), "name"]


def describe(settings: Settings, number: int) -> str:
    """What is held out, as a clause for reports."""
    rule = settings.held_out
    how = {
        "listed": f"of {', '.join(rule.lists.values())}",
        "repeated": f"that were shown {rule.repeats} times or more",
        "random": f"chosen at random (seed {rule.seed})",
    }
    return f"{number} pictures {how[rule.rule]}"


def _checked(
    settings: Settings, folder: Folder, names: list[str], tested: dict[str, list[str]]
) -> Iterator[np.ndarray]:
    """The pictures in blocks. Raises UserError at the end when one is tested and, under another name, trained on."""
    pictures, compared = settings.pictures, Compared(names)
    every = {name for own in tested.values() for name in own}
    paths = [folder.files[name] for name in names]
    for block in picture_blocks(paths, pictures.size, pictures.fit, pictures.background):
        for pixels in block:
            compared.add(pixels)
        yield block
    groups = leaked(compared.same(), every)
    if groups:
        raise UserError(message_of_leak(folder.path, groups[0], every, len(groups)))
