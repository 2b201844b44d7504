"""Fill the tree of the Natural Scenes Dataset, one file at a time, from its public bucket.

A file appears under its name only when it is complete, has the content that the server's tag promises, and opens in its
format; its size, ETag and SHA-256 are locked (lockfile.py). Files that the user has already are linked from
`nsd.bucket.copy`. COCO's annotations, which NSD does not host, come from COCO's own archive.
"""

import os
import shutil
import zipfile
from pathlib import Path
from typing import TextIO

from fmri2img.datasets import checksums, lockfile, transfer
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.settings import Bucket as Source
from fmri2img.datasets.nsd.settings import terms_not_accepted
from fmri2img.datasets.opening import Unreadable, check_opens
from fmri2img.datasets.progress import Progress
from fmri2img.datasets.remote import Changed, S3Object, WebObject
from fmri2img.errors import UserError

COCO_ARCHIVE = "annotations/annotations_trainval2017.zip"
ANNOTATIONS = (*layout.COCO_CAPTIONS.values(), *layout.COCO_INSTANCES.values())
WHOLE_ATTEMPTS = 2  # downloads of a whole object that arrives damaged or changes in the meantime


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
    with lockfile.alone(root, key):
        return _present(key, root) or link(key, root, source) or _download(remote, key, root, terminal)


def acquire_annotations(root: str | Path, source: Source, terminal: TextIO | None = None) -> list[Path]:
    """Make COCO's caption and instance files exist: link them, or extract them from COCO's archive."""
    check_terms(source)
    root = Path(root)
    with lockfile.alone(root, COCO_ARCHIVE):
        missing = [key for key in ANNOTATIONS if not (_present(key, root) or link(key, root, source))]
        if missing:
            archive = _present(COCO_ARCHIVE, root) or _download(
                WebObject(source.coco_url), COCO_ARCHIVE, root, terminal
            )
            for key in missing:
                _extract(archive, key, root, source.coco_url)
            archive.unlink()
    return [root / key for key in ANNOTATIONS]


def link(key: str, root: str | Path, source: Source) -> Path | None:
    """Link `<root>/<key>` to the user's own copy and return it; None when the copy has no such file."""
    target, original = Path(root) / key, Path(source.copied or "", key).resolve()
    if source.copied is None or not original.is_file():
        return None
    try:
        check_opens(original, key)
    except Unreadable as error:
        raise UserError(
            f"{original}: {error}; replace it, or remove it from the copy so that it is downloaded"
        ) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.part")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(original)
    os.replace(temporary, target)
    print(f"{key}: linked to {original}", flush=True)
    return target


def check_betas_are_own(root: str | Path) -> None:
    """Raise UserError if the tree holds betas that were not downloaded into it.

    Snakemake deletes a session's betas once they are masked, no matter who put them there. The user's own betas must
    never be in that place.
    """
    root = Path(root)
    for path in sorted(root.glob("nsddata_betas/ppdata/*/func1pt8mm/*/betas_session*.hdf5")):
        try:
            may_go = path.is_symlink() or lockfile.is_own(root, path.relative_to(root).as_posix())
        except FileNotFoundError:
            continue  # another job has masked and deleted it just now
        if not may_go:
            raise UserError(
                f"{path}: not downloaded by this workflow, which deletes betas once they are masked; keep your own "
                "files in another folder, name it in nsd.bucket.copy (files in it are only linked) and give nsd.root a "
                "folder for the workflow's use"
            )


def _present(key: str, root: Path) -> Path | None:
    """The file at `key`, checked against its lock, or by an opening test if it has none (the user's own file)."""
    path = root / key
    if not path.is_file():
        return None
    if lockfile.read(root, key) is not None:
        lockfile.verify(root, key)
    else:
        try:
            check_opens(path, key)
        except Unreadable as error:
            raise UserError(f"{path}: {error}; replace it, or delete it to download it") from error
    return path


def _download(remote: S3Object | WebObject, key: str, root: Path, terminal: TextIO | None) -> Path:
    target = root / key
    part = target.with_name(f"{target.name}.part")
    problem, contents = None, []
    for _ in range(WHOLE_ATTEMPTS):
        try:
            version = transfer.retrying(remote.head)
            lockfile.check_version(root, key, version)
            with Progress(Path(key).name, version.size, terminal) as progress:
                digest = transfer.download(remote, version, part, progress)
            contents.append((version, digest.sha256()))
            # Amazon's tags are reliable; those of other servers may only look like MD5s.
            excused = remote.endpoint is not None and contents.count(contents[-1]) > 1
            _check_content(part, key, root, digest, excused)
        except Changed:
            problem = "the object changed while it was read"
        except Unreadable as error:
            problem = str(error)
        else:
            # The lock comes first: betas without a lock are taken for the user's own (check_betas_are_own).
            lockfile.write(root, key, part, remote.name, version.etag, digest.sha256())
            os.replace(part, target)
            transfer.discard(part)
            print(progress.summary(), flush=True)
            return target
        print(f"{key}: {problem}; starting over", flush=True)
        transfer.discard(part)
    raise UserError(
        f"{remote.name}: {problem}, in {WHOLE_ATTEMPTS} downloads; try again another day or use another endpoint"
    )


def _check_content(part: Path, key: str, root: Path, digest: transfer.Digest, excused: bool) -> None:
    """Raise Unreadable when the bytes do not match the lock (or the server's tag if there is no lock) or do not open.

    excused: the same bytes arrived twice, so a tag that does not match them is ignored.
    """
    if part.stat().st_size != digest.version.size:
        raise Unreadable(f"{key} has {part.stat().st_size} bytes, not {digest.version.size}")
    record = lockfile.read(root, key)
    if record is not None:
        if record.sha256 != digest.sha256():
            raise Unreadable(f"{key} was damaged on the way: SHA-256 differs from {lockfile.record_path(root, key)}")
    elif not digest.check():
        if not excused:
            raise Unreadable(f"{key} was damaged on the way: ETag {digest.etag()}, not {digest.version.etag}")
        print(f"{key}: arrived twice with the same SHA-256, so the server's ETag is not an MD5; accepted", flush=True)
    check_opens(part, key)


def _extract(archive: Path, key: str, root: Path, source: str) -> None:
    target = root / key
    temporary = target.with_name(f".{target.name}.part")
    try:
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
        lockfile.write(root, key, temporary, source, "", checksums.sha256(temporary))
        os.replace(temporary, target)
    except (KeyError, zipfile.BadZipFile, Unreadable) as error:
        raise UserError(f"{archive}: {error}; delete the archive, then run again") from error
    finally:
        temporary.unlink(missing_ok=True)
