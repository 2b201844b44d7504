"""Bandwidth of an acquisition over the loopback interface, beside a plain HTTP copy of the same file.

    PYTHONPATH=scripts python tests/benchmarks/acquire.py [--megabytes 1000] [--repeats 3]

The server is another process that hands the file to the socket with sendfile, so the clients are what is measured. The
plain copy reads one stream in blocks of 1 MiB, writes them and syncs the file: no hash, no opening test.
"""

import argparse
import hashlib
import http.client
import multiprocessing
import os
import statistics
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
from benchmark_table import against

from fmri2img.datasets import lockfile, transfer
from fmri2img.datasets.nsd.acquisition import Source, acquire
from fmri2img.datasets.nsd.layout import betas

KEY = betas("subj01", "b3", 1)
BUCKET = "natural-scenes-dataset"


def write_session(path: Path, megabytes: int) -> None:
    """An HDF5 file of about the given size, chunked as NSD's betas are, but with longer chunks to be quick to write."""
    with h5py.File(path, "w", libver="earliest") as file:
        shape = (750, 1, 1, megabytes * 10**6 // 1500)
        dataset = file.create_dataset("betas", shape, "<i2", chunks=(750, 1, 1, 1000))
        block = np.random.default_rng(0).integers(-3000, 3000, (750, 1, 1, 10_000), dtype="<i2")
        for start in range(0, shape[3], 10_000):
            dataset[..., start : start + 10_000] = block[..., : shape[3] - start]


def md5_in_parts(path: Path, part_bytes: int) -> str:
    with open(path, "rb") as file:
        parts = [hashlib.md5(part).digest() for part in iter(lambda: file.read(part_bytes), b"")]
    return f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}"


def serve(path: Path, etag: str, part_bytes: int, port) -> None:
    size = path.stat().st_size

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.send_response(200)
            self.send_header("ETag", f'"{etag}"')
            self.send_header("Content-Length", str(part_bytes if "partNumber=1" in self.path else size))
            self.end_headers()

        def do_GET(self):
            bounds = self.headers.get("Range", f"bytes=0-{size - 1}").removeprefix("bytes=")
            first, last = map(int, bounds.split("-"))
            self.send_response(206)
            self.send_header("ETag", f'"{etag}"')
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.send_header("Content-Length", str(last - first + 1))
            self.end_headers()
            self.wfile.flush()
            with open(path, "rb") as file:
                self.connection.sendfile(file, first, last - first + 1)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.value = server.server_address[1]
    server.serve_forever()


def plain_copy(port: int, target: Path) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", f"/{BUCKET}/{KEY}")
    answer, block = connection.getresponse(), memoryview(bytearray(2**20))
    with open(target, "wb") as file:
        while count := answer.readinto(block):
            file.write(block[:count])
        os.fsync(file.fileno())
    connection.close()


def checked_copy(port: int, target: Path) -> None:
    """A plain copy, and then the two hashes that an acquisition computes (for the ETag and for the lock)."""
    plain_copy(port, target)
    for algorithm in ("md5", "sha256"):
        with open(target, "rb") as file:
            hashlib.file_digest(file, algorithm)


def timed(action) -> tuple[float, float]:
    """Seconds of wall time and of processor time of this process."""
    started, busy = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - started, time.process_time() - busy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        session, root, port = Path(folder, "session.hdf5"), Path(folder, "tree"), multiprocessing.Value("i", 0)
        write_session(session, arguments.megabytes)
        part_bytes = 8 * 2**20
        etag = md5_in_parts(session, part_bytes)
        server = multiprocessing.Process(target=serve, args=(session, etag, part_bytes, port), daemon=True)
        server.start()
        while not port.value:
            time.sleep(0.01)
        source = Source(terms_accepted=True, bucket=BUCKET, endpoint=f"http://127.0.0.1:{port.value}")
        megabytes = session.stat().st_size / 1e6
        seconds: dict[str, list[tuple[float, float]]] = {"plain copy": [], "copy, then hashes": []}
        copy = Path(folder, "copy")
        for _ in range(arguments.repeats):
            seconds["plain copy"].append(timed(lambda: plain_copy(port.value, copy)))
            seconds["copy, then hashes"].append(timed(lambda: checked_copy(port.value, copy)))
            copy.unlink()
            for connections in (1, 2, 4):
                transfer.CONNECTIONS = connections
                name = f"acquire, {connections} connections"
                seconds.setdefault(name, []).append(timed(lambda: acquire(KEY, root, source)))
                lockfile.record_path(root, KEY).unlink()
                (root / KEY).unlink()
        server.terminate()
    wall, busy = ({name: statistics.median(t[i] for t in times) for name, times in seconds.items()} for i in (0, 1))
    print(f"{megabytes:.0f} MB, median of {arguments.repeats}; processor time is the client's alone")
    for name in seconds:
        share = wall["plain copy"] / wall[name]
        cost = 1000 * busy[name] / megabytes
        if name.startswith("acquire"):
            against(f"{name}, {megabytes:.0f} MB", wall[name], "plain copy, unchecked", wall["plain copy"])
            against(f"{name}, {megabytes:.0f} MB", wall[name], "copy, then hashes", wall["copy, then hashes"])
        print(f"{name:24} {megabytes / wall[name]:6.0f} MB/s  {share:5.2f} of plain copy  {cost:5.2f} CPU s/GB")


if __name__ == "__main__":
    main()
