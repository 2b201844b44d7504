"""Fill the tree of the Natural Scenes Dataset, one file at a time, from its public bucket.

Files that the user has already are linked from `nsd.bucket.copy`. How a file is checked and locked is in
datasets.acquisition. COCO's annotations, which NSD does not host, come from COCO's own archive.
"""

import os
import shutil
import zipfile
from pathlib import Path
from typing import TextIO

from fmri2img.archives import check_expansion
from fmri2img.datasets import acquisition, lockfile, transfer
from fmri2img.datasets.acquisition import check_may_be_deleted, download, link, present
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.settings import Bucket as Source
from fmri2img.datasets.nsd.settings import terms_not_accepted
from fmri2img.datasets.opening import Unreadable, check_opens
from fmri2img.datasets.remote import S3Object, WebObject
from fmri2img.errors import UserError
from fmri2img.integrity import sha256

ANNOTATIONS = (*layout.COCO_CAPTIONS.values(), *layout.COCO_INSTANCES.values())


def check_terms(source: Source) -> None:
    if not source.terms_accepted:
        raise terms_not_accepted()


def acquire(key: str, root: str | Path, source: Source, terminal: TextIO | None = None) -> Path:
    """Make `<root>/<key>` exist: link it from the user's copy, or download it.

    A file that is there and agrees with its lock is kept. Raises UserError when the terms are not accepted, the object
    is not public, missing or not the one that was locked, the server does not answer, or the disk is full.
    """
    check_terms(source)
    root = Path(root)
    remote = S3Object(source.bucket, key, source.region, source.endpoint, transfer.CONNECTIONS)
    return acquisition.acquire(remote, key, root, why_requested(key, source), source.copied, terminal)


def why_requested(key: str, source: Source) -> str:
    """Why a file is requested from the bucket, and which keys decide that, for messages."""
    if source.copied is None:
        return f"it is requested from bucket {source.bucket} because no copy of NSD is named in nsd.bucket.copy"
    fewer = "; if your copy has fewer sessions, state them in nsd.sessions" if "_session" in key else ""
    return f"it is not in {source.copied} (nsd.bucket.copy), so it is requested from bucket {source.bucket}{fewer}"


def acquire_annotations(root: str | Path, source: Source, terminal: TextIO | None = None) -> list[Path]:
    """Make COCO's caption and instance files exist: link them, or extract them from COCO's archive."""
    check_terms(source)
    root = Path(root)
    with lockfile.alone(root, layout.COCO_ARCHIVE):
        missing = [key for key in ANNOTATIONS if not (present(key, root) or link(key, root, source.copied))]
        if missing:
            where = f"not in {source.copied} (nsd.bucket.copy)" if source.copied else "not in a copy (nsd.bucket.copy)"
            why = f"{missing[0]} is {where}, so COCO's archive is requested (nsd.bucket.coco_url)"
            remote = WebObject(source.coco_url)
            archive = present(layout.COCO_ARCHIVE, root) or download(remote, layout.COCO_ARCHIVE, root, why, terminal)
            for key in missing:
                _extract(archive, key, root, source.coco_url)
            archive.unlink()
    return [root / key for key in ANNOTATIONS]


def check_betas_are_own(root: str | Path) -> None:
    """Raise UserError if the tree holds betas that were not downloaded into it.

    Snakemake deletes a session's betas once they are masked, no matter who put them there. The user's own betas must
    never be in that place.
    """
    for form in layout.BETA_FORMS:
        check_may_be_deleted(root, f"nsddata_betas/ppdata/*/func1pt8mm/*/betas_*.{form}", "nsd")


def _extract(archive: Path, key: str, root: Path, source: str) -> None:
    target = root / key
    temporary = target.with_name(f".{target.name}.part")
    try:
        check_expansion(archive)
        # zipfile compares each member's CRC-32 when its last byte is read.
        with (
            transfer.full_disk(target),
            zipfile.ZipFile(archive) as members,
            members.open(key) as packed,
            open(temporary, "wb") as file,
        ):
            shutil.copyfileobj(packed, file, 4 * 2**20)
            file.flush()
            os.fsync(file.fileno())
        check_opens(temporary, key)
        # Members have no tag; the archive's lock and their CRC-32 guarantee their content.
        lockfile.write(root, key, temporary, source, "", sha256(temporary))
        lockfile.write_linked(root, key, None)
        os.replace(temporary, target)
    except (KeyError, zipfile.BadZipFile, Unreadable) as error:
        raise UserError(f"{archive}: {error}; delete the archive, then run again") from error
    finally:
        temporary.unlink(missing_ok=True)
