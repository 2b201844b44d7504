"""Download one object to a `.part` file: several byte ranges at once, written in order, resumed where they stopped.

The `.part` file is always a gapless beginning of the object, so its size gives the progress; the side file `.part.json`
records the version of the object. Ranges are fetched in parallel into memory and appended in order.
"""

import hashlib
import json
import os
import random
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from fmri2img.artifacts.atomic import is_full
from fmri2img.datasets.progress import Progress
from fmri2img.datasets.remote import S3Object, Transient, Version, WebObject
from fmri2img.errors import UserError

CONNECTIONS = 4
RANGE_BYTES = 8 * 2**20  # CONNECTIONS + 1 ranges are in memory
ATTEMPTS = 8  # without any progress; with BACKOFF_S they span about two minutes
BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 60.0
SPARE_BYTES = 64 * 2**20  # left free on the disk


class Digest:
    """SHA-256 of an object's bytes, and the ETag that S3 would give them (None when that cannot be known).

    Hashing releases the interpreter lock, so both hashes of one block are computed while the next one arrives.
    """

    def __init__(self, version: Version) -> None:
        self.version = version
        self.md5_part_bytes = version.md5_part_bytes
        self._sha256 = hashlib.sha256()
        self._md5, self._filled, self._parts = self._new_md5(), 0, []
        self._running: list[threading.Thread] = []

    @staticmethod
    def _new_md5():
        return hashlib.md5(usedforsecurity=False)

    def update(self, block: bytes | memoryview) -> None:
        """Add the next bytes; `block` must not change afterwards."""
        self._wait()
        self._running = [threading.Thread(target=add, args=(block,)) for add in (self._sha256.update, self._update_md5)]
        for thread in self._running:
            thread.start()

    def _wait(self) -> None:
        for thread in self._running:
            thread.join()

    def sha256(self) -> str:
        self._wait()
        return self._sha256.hexdigest()

    def _update_md5(self, block: bytes | memoryview) -> None:
        if self.md5_part_bytes is None:
            return
        while self.md5_part_bytes and self._filled + len(block) >= self.md5_part_bytes:
            head = self.md5_part_bytes - self._filled
            self._md5.update(block[:head])
            self._parts.append(self._md5.digest())
            self._md5, self._filled, block = self._new_md5(), 0, block[head:]
        self._md5.update(block)
        self._filled += len(block)

    def etag(self) -> str | None:
        self._wait()
        if self.md5_part_bytes is None:
            return None
        if self.md5_part_bytes == 0:
            return self._md5.hexdigest()
        parts = self._parts + ([self._md5.digest()] if self._filled else [])
        return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"

    def check(self) -> bool:
        """Whether the bytes are those that the server's ETag was made from, as far as it can tell."""
        return self.etag() in (None, self.version.etag)


def side_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    side_file(part).unlink(missing_ok=True)


def resumable_bytes(part: Path, remote: S3Object | WebObject, version: Version) -> int:
    """Size of the part that a stopped download of this version left; files of any other version are deleted."""
    try:
        begun = json.loads(side_file(part).read_text(encoding="utf-8"))
        size = part.stat().st_size
    except (FileNotFoundError, ValueError):
        size, begun = 0, None
    if begun == _identity(remote, version) and size <= version.size:
        return size
    discard(part)
    return 0


def _identity(remote: S3Object | WebObject, version: Version) -> dict:
    return {"source": remote.name, "etag": version.etag, "size": version.size}


def check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed + SPARE_BYTES > free:
        raise UserError(
            f"{part.with_suffix('')}: needs {needed / 1e6:.1f} MB, but {free / 1e6:.1f} MB are free on its disk; free "
            "some space or put the dataset's folder on another disk"
        )


def retrying(request: Callable, wait: Callable[[float], object] = time.sleep, progress: Callable[[], int] = lambda: 0):
    """Result of `request()`, tried again after each Transient failure with exponential back-off and jitter.

    Raises UserError after ATTEMPTS failures in a row; a failure after which `progress()` has grown begins a new row.
    """
    failures, reached = 0, progress()
    while True:
        try:
            return request()
        except Transient as error:
            failures = 1 if progress() > reached else failures + 1
            reached = progress()
            if failures == ATTEMPTS:
                raise UserError(f"{error}; given up after {ATTEMPTS} attempts in a row; run again to resume") from error
            pause = random.uniform(0.5, 1) * min(LONGEST_BACKOFF_S, BACKOFF_S * 2 ** (failures - 1))
            print(f"{error}; trying again in {pause:.1f} s", flush=True)
            wait(pause)


def download(remote: S3Object | WebObject, version: Version, part: Path, progress: Progress) -> Digest:
    """Bring `part` to the full size of `version`, resuming what is there; return the digest of all its bytes.

    The caller renames `part` when it is satisfied. Raises UserError when the server refuses or does not answer or the
    disk fills up, and remote.Changed when the object changes during the download; the bytes received are kept.
    """
    done = resumable_bytes(part, remote, version)
    part.parent.mkdir(parents=True, exist_ok=True)
    check_space(part, version.size - done)
    digest = Digest(version)
    with full_disk(part):
        side_file(part).write_text(json.dumps(_identity(remote, version)), encoding="utf-8")
        with open(part, "r+b" if done else "wb", buffering=0) as file, ThreadPoolExecutor(1) as syncing:
            while done and (block := file.read(RANGE_BYTES)):
                digest.update(block)
            if done:
                print(f"{part.name}: resuming after {done / 1e6:.1f} MB of {version.size / 1e6:.1f} MB", flush=True)
                progress.resume(done)
            synced: Future | None = None

            def keep(block: memoryview) -> None:
                nonlocal synced
                rest = block
                while rest:
                    rest = rest[file.write(rest) :]
                # Data are flushed during the download, so that little is left to wait for at the end.
                if synced is None or synced.done():
                    synced = syncing.submit(getattr(os, "fdatasync", os.fsync), file.fileno())  # macOS has fsync alone
                digest.update(block)
                progress.advance(len(block))

            _fetch(remote, version, range(done, version.size, RANGE_BYTES), keep)
            os.fsync(file.fileno())
    return digest


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Turn the operating system's "no space left" into a UserError that names `path`."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise UserError(
                f"{path}: the disk is full; free some space or put the dataset's folder on another disk, then run again"
            ) from error
        raise


def _fetch(remote, version: Version, starts: range, keep: Callable[[memoryview], None]) -> None:
    """Fetch the ranges on several connections and pass them to `keep` in order, with what arrived of a failed range."""
    stop = threading.Event()
    pending: deque[Future] = deque()
    upcoming = iter(starts)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        try:
            while True:
                while len(pending) <= CONNECTIONS and (start := next(upcoming, None)) is not None:
                    end = min(start + starts.step, version.size)
                    pending.append(pool.submit(_fetch_range, remote, version, start, end, stop))
                if not pending:
                    return
                received, error = pending.popleft().result()
                keep(memoryview(received))
                if error is not None:
                    raise error
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _fetch_range(remote, version: Version, start: int, end: int, stop: threading.Event):
    """Bytes [start, end) and None, or the bytes before a failure and the failure."""
    received = bytearray()

    def rest() -> None:
        if stop.is_set():
            return
        for block in remote.read(start + len(received), end, version):
            received.extend(block)
            if stop.is_set():
                return
        if start + len(received) < end:
            raise Transient(f"{remote.name}: the connection ended early")

    try:
        retrying(rest, stop.wait, lambda: len(received))
    except Exception as error:
        return received, error
    return received, None
