"""Which region masks a subject has: the bucket's folders of them are listed, since no table says so.

This module is light to import, because every reading of the workflow imports it.
"""

from collections.abc import Iterable
from pathlib import Path

from fmri2img.artifacts.tables import write_json
from fmri2img.datasets.laion_fmri import layout
from fmri2img.datasets.own_files import visible
from fmri2img.errors import UserError


def local_keys(subject: str, folder: Path) -> list[str]:
    """Keys of the files below a subject's region folders in a tree or copy."""
    folders = [folder / one.format(subject=subject) for one in layout.REGION_FOLDERS]
    return [path.relative_to(folder).as_posix() for one in folders for path in visible(one.rglob("*"))]


def masks_in(subject: str, keys: Iterable[str]) -> dict[str, str]:
    """Region -> key of its mask, ascending; the folder where masks are now comes first."""
    found: dict[str, str] = {}
    for key in sorted(keys, key=lambda key: (not key.startswith("derivatives/rois/"), key)):
        region = layout.region_in(subject, key)
        if region is not None:
            found.setdefault(region, key)
    return dict(sorted(found.items()))


def check_masks(subject: str, found: dict[str, str], where: str) -> None:
    if layout.GENERAL not in found:
        tried = " nor ".join(f"{where}/{folder.format(subject=subject)}" for folder in layout.REGION_FOLDERS)
        raise UserError(
            f"{subject}: neither {tried} has a mask of {layout.GENERAL} in the grid of the betas (found: "
            f"{', '.join(found) or 'none'}); check laion_fmri.bucket"
        )


def list_regions(subject: str, root: str | Path) -> Path:
    """Write the list of region masks that a tree has. Raises UserError when it lacks `laion-general`."""
    root = Path(root)
    found = masks_in(subject, local_keys(subject, root))
    check_masks(subject, found, str(root))
    return write_list(subject, root, found)


def write_list(subject: str, root: Path, found: dict[str, str]) -> Path:
    """Write the list of a subject's masks, region -> key, and return its path."""
    path = root / layout.region_list(subject)
    write_json(path, found)
    return path
