"""Fill the tree of LAION-fMRI, one file at a time, from its public bucket and the authors' repository.

Nothing needs an account or an agreement, except the pictures, which the authors send on request: they are never
requested here. Files that the user has already are linked from `laion_fmri.bucket.copy`. How a file is checked and
locked is in datasets.acquisition.
"""

import re
from pathlib import Path
from typing import TextIO

from fmri2img.datasets import acquisition, lockfile, transfer
from fmri2img.datasets.acquisition import link, present
from fmri2img.datasets.laion_fmri import layout
from fmri2img.datasets.laion_fmri.regions import check_masks, local_keys, masks_in, write_list
from fmri2img.datasets.laion_fmri.settings import Bucket as Source
from fmri2img.datasets.remote import S3Object, WebObject
from fmri2img.errors import UserError


def acquire(key: str, root: str | Path, source: Source, terminal: TextIO | None = None) -> Path:
    """Make `<root>/<key>` exist: link it from the user's copy, or download it.

    A file that is there and agrees with its lock is kept. Raises UserError when it is one that is not public, is
    missing on the server or not the one that was locked, the server does not answer, or the disk is full.
    """
    root = Path(root)
    if key == layout.PICTURES:
        with lockfile.alone(root, key):
            found = present(key, root) or link(key, root, source.copied)
        if found is None:
            raise UserError(f"{root / key}: no such file; {pictures_remedy(root)}")
        return found
    check_is_public(key)
    return acquisition.acquire(remote_of(key, source), key, root, why_requested(key, source), source.copied, terminal)


def remote_of(key: str, source: Source) -> S3Object | WebObject:
    if key.startswith(layout.SPLIT_FOLDER):
        return WebObject(f"{source.splits_url}/{key}")
    return S3Object(source.bucket, key, source.region, source.endpoint, transfer.CONNECTIONS)


def check_is_public(key: str) -> None:
    """Raise UserError for an object of a session that the authors hold out, so that it is never requested."""
    found = re.search(r"/ses-(\d+)/", key)
    if found and int(found[1]) > layout.SESSIONS:
        raise UserError(
            f"{key}: session {int(found[1])} is held out by the authors (sessions 1 to {layout.SESSIONS} are public); "
            "lower laion_fmri.sessions"
        )


def pictures_remedy(root: Path) -> str:
    """What a user does to get the pictures, or to do without."""
    return (
        f"request the pictures at {layout.FORM}, and put task-images_stimuli.h5 there, or into the folder that "
        f"laion_fmri.bucket.copy names (as {layout.PICTURES}); without them set laion_fmri.pictures to false"
    )


def why_requested(key: str, source: Source) -> str:
    """Where a file is requested and why, for messages."""
    where = f"{source.splits_url} (laion_fmri.bucket.splits_url)"
    if not key.startswith(layout.SPLIT_FOLDER):
        where = f"bucket {source.bucket}"
    if source.copied is None:
        return f"it is requested from {where} because no copy is named in laion_fmri.bucket.copy"
    fewer = "; if your copy has fewer sessions, state them in laion_fmri.sessions" if "/ses-" in key else ""
    return f"it is not in {source.copied} (laion_fmri.bucket.copy), so it is requested from {where}{fewer}"


def acquire_regions(subject: str, root: str | Path, source: Source, terminal: TextIO | None = None) -> Path:
    """Make a subject's region masks exist, and the list of them (layout.region_list); returns the list.

    They are taken from the user's copy if it has any, else from the bucket; in both, from the folder where they are
    now, or else from the one where they were. Raises UserError as `acquire`, and when neither has `laion-general`.
    """
    root = Path(root)
    found = masks_in(subject, local_keys(subject, Path(source.copied))) if source.copied else {}
    found = found or masks_in(subject, [key for key in local_keys(subject, root) if _is_own(root, key)])
    for folder in () if found else layout.REGION_FOLDERS:
        remote = S3Object(source.bucket, f"{folder.format(subject=subject)}/", source.region, source.endpoint)
        found = masks_in(subject, acquisition.listing(remote))
        if found:
            break
    check_masks(subject, found, f"s3://{source.bucket}" if source.copied is None else source.copied)
    for key in found.values():
        acquire(key, root, source, terminal)
    return write_list(subject, root, found)


def _is_own(root: Path, key: str) -> bool:
    """Whether the user put a file into the tree. What an interrupted run fetched is not all that there is."""
    return lockfile.read(root, key) is None and lockfile.linked(root, key) is None
