"""Download MOSAIC's files, one at a time, each locked by size and SHA-256 (datasets.acquisition).

The bucket is listed first, page by page, so that a file is found whether its name has the `_crc32-<hash>` of the
uploading code or not, and so that the lists of the filtered split are found wherever they are. Where a name has the
hash, the downloaded bytes must have it too.
"""

import zlib
from pathlib import Path
from typing import TextIO

from fmri2img.datasets import acquisition, lockfile
from fmri2img.datasets.mosaic import layout
from fmri2img.datasets.mosaic.dataset import check_terms
from fmri2img.datasets.mosaic.settings import Bucket
from fmri2img.datasets.remote import S3Object, WebObject
from fmri2img.errors import UserError
from fmri2img.integrity import sha256

READ_BYTES = 8 * 2**20


def acquire(
    key: str, root: str | Path, bucket: Bucket, accepted: list[str], terminal: TextIO | None = None
) -> Path:  # fmt: skip
    """Make `<root>/<key>` exist and return it; a file that is there and agrees with its lock is kept.

    accepted: constituents whose agreement is signed. Raises UserError when one is not, when the bucket has no such file
    or two of them, or as `datasets.acquisition.acquire`.
    """
    root = Path(root)
    why = f"it is not in {root} (mosaic.root), so it is requested (mosaic.source: download)"
    if key == layout.PARCELS:
        path = acquisition.acquire(WebObject(layout.PARCELS_ADDRESS), key, root, why, terminal=terminal)
        return _checked(path, key, root, sha256(path), layout.PARCELS_SHA256)
    subject = next((name for name in layout.SUBJECTS if layout.betas(name) == key), None)
    if subject is not None:
        check_terms([layout.constituent_of(subject)], accepted)
    with lockfile.alone(root, key):
        found = acquisition.present(key, root)
    if found is not None:
        return found
    own = find(key, bucket)
    path = acquisition.acquire(_object(own, bucket), key, root, why, terminal=terminal)
    stated = layout.CHECKSUM.search(own)
    return path if stated is None else _checked(path, key, root, crc32(path), stated["crc32"])


def find(key: str, bucket: Bucket) -> str:
    """The bucket's key of a file of layout.py. Raises UserError when it has none, or several of the name."""
    lists = {layout.filtered(part) for part in layout.FILTERED}
    prefix = "" if key in lists else str(Path(key).with_suffix(""))
    name = Path(key).name
    listed = acquisition.listing(_object(prefix, bucket))
    found = [one for one in listed if layout.CHECKSUM.sub("", Path(one).name) == name]
    if len(found) == 1:
        return found[0]
    if key in found:
        return key
    if found:
        raise UserError(
            f"s3://{bucket.bucket}: has {len(found)} files {name} ({', '.join(found[:3])}); download the one that you "
            f"want to {key} in mosaic.root"
        )
    raise UserError(
        f"s3://{bucket.bucket}/{prefix}: none of the {len(listed)} files listed is {name}; get it from MOSAIC's site, "
        f"{layout.SITE}, and put it at {key} in mosaic.root"
    )


def crc32(path: Path) -> str:
    """CRC-32 of a file: 8 hex digits, as in the names of uploaded files."""
    value = 0
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            value = zlib.crc32(block, value)
    return f"{value:08x}"


def _object(key: str, bucket: Bucket) -> S3Object:
    return S3Object(bucket.bucket, key, bucket.region, bucket.endpoint)


def _checked(path: Path, key: str, root: Path, found: str, stated: str) -> Path:
    """The path, if its checksum is the stated one; else the file and its lock are removed and UserError is raised."""
    if found == stated:
        return path
    path.unlink()
    lockfile.record_path(root, key).unlink(missing_ok=True)
    raise UserError(
        f"{path}: has the checksum {found} instead of {stated}, so it was deleted; run again, and if it stays so, get "
        f"it from {layout.SITE}"
    )
