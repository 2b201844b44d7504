"""Files of a dataset's tree, one at a time: kept where they are, linked from the user's copy, or downloaded.

A file appears under its name only when it is complete, has the content that the server's tag promises, and opens in its
format; its size, ETag and SHA-256 are locked (lockfile.py).
"""

import os
from functools import partial
from pathlib import Path
from typing import TextIO

from fmri2img import user_files
from fmri2img.datasets import lockfile, transfer
from fmri2img.datasets.opening import Unreadable, check_opens
from fmri2img.datasets.own_files import is_there
from fmri2img.datasets.progress import Progress
from fmri2img.datasets.remote import Changed, S3Object, WebObject
from fmri2img.errors import UserError

WHOLE_ATTEMPTS = 2  # downloads of a whole object that arrives damaged or changes in the meantime


def acquire(
    remote: S3Object | WebObject, key: str, root: Path, why: str, copied: str | None = None,
    terminal: TextIO | None = None,
) -> Path:  # fmt: skip
    """Make `<root>/<key>` exist and return it. copied: the user's own folder of such files, from which one is linked.

    why: what messages of a download that fails say of its reason, "it is ...", with the keys that decide.
    A file that is there and agrees with its lock is kept. Raises UserError when the object is not public, missing or
    not the one that was locked, the server does not answer, or the disk is full.
    """
    with lockfile.alone(root, key):
        return present(key, root) or link(key, root, copied) or download(remote, key, root, why, terminal)


def listing(remote: S3Object) -> dict[str, int]:
    """All objects of the bucket whose keys begin with that of `remote`, on however many pages: key -> size.

    Raises UserError when the bucket may not be listed, or does not answer.
    """
    found, after = transfer.retrying(remote.page)
    while after is not None:
        more, after = transfer.retrying(partial(remote.page, after))
        found |= more
    return found


def link(key: str, root: Path, copied: str | None) -> Path | None:
    """Link `<root>/<key>` to the user's own copy and return it; None when the copy has no such file."""
    target, original = root / key, Path(copied or "", key).resolve()
    if copied is None or not is_there(Path(copied, key)):
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
    lockfile.write_linked(root, key, user_files.state(original))
    os.replace(temporary, target)
    print(f"{key}: linked to {original}", flush=True)
    return target


def present(key: str, root: Path) -> Path | None:
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


def check_may_be_deleted(root: str | Path, pattern: str, section: str) -> None:
    """Raise UserError if a tree has files that were not downloaded into it, where a rule deletes them after use.

    Snakemake deletes such files no matter who put them there, so the user's own must never be in that place. pattern:
    of the files below `root`; section: of the configuration, with `root` and `bucket.copy`.
    """
    root = Path(root)
    for path in sorted(root.glob(pattern)):
        try:
            may_go = path.is_symlink() or lockfile.is_own(root, path.relative_to(root).as_posix())
        except FileNotFoundError:
            continue  # another job has masked and deleted it just now
        if not may_go:
            raise UserError(
                f"{path}: not downloaded by this workflow, which deletes betas once they are masked; keep your own "
                f"files in another folder, name it in {section}.bucket.copy (files in it are only linked) and give "
                f"{section}.root a folder for the workflow's use"
            )


def download(remote: S3Object | WebObject, key: str, root: Path, why: str, terminal: TextIO | None = None) -> Path:
    """Download `<root>/<key>`, lock it and return it. Raises UserError as `acquire`; its message ends with `why`."""
    try:
        return _downloaded(remote, key, root, terminal)
    except UserError as error:
        raise UserError(f"{error} ({why})") from error


def _downloaded(remote: S3Object | WebObject, key: str, root: Path, terminal: TextIO | None) -> Path:
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
            # The lock comes first: files without a lock are taken for the user's own.
            lockfile.write(root, key, part, remote.name, version.etag, digest.sha256())
            lockfile.write_linked(root, key, None)
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
