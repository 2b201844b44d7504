"""Servers for the acquisition tests: moto's S3 with public and private objects, and a byte-range server with faults."""

import hashlib
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

BUCKET, REGION = "natural-scenes-dataset", "us-east-2"


@contextmanager
def s3_server() -> Iterator[tuple[str, object]]:
    """A moto server with an empty bucket; yields its URL and a client that may write to it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    # moto keeps its buckets for the whole process.
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()
    owner = boto3.client(
        "s3", endpoint_url=url, region_name=REGION, aws_access_key_id="owner", aws_secret_access_key="owner"
    )
    owner.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    try:
        yield url, owner
    finally:
        server.stop()


def serve_tree(owner, root: Path) -> list[str]:
    """Upload every file below `root`, readable by everyone; returns the keys."""
    keys = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.is_file()]
    for key in keys:
        owner.put_object(Bucket=BUCKET, Key=key, Body=(root / key).read_bytes(), ACL="public-read")
    return keys


@dataclass
class Fault:
    """What one request is answered with instead of the truth; each field is one kind of fault.

    status: this HTTP status and no body; cut_after: the connection breaks after so many bytes of the body;
    flip: the bit at this byte of the object is inverted; replace: from now on the object has this content.
    """

    status: int | None = None
    cut_after: int | None = None
    flip: int | None = None
    replace: bytes | None = None


@dataclass
class FaultyServer:
    """Serves `objects` (URL path -> bytes) by ranges with S3's ETags; GETs meet `faults` in turn, then none.

    claimed: bytes that the object is said to be longer than it is; hold_after: bytes of the object from here on are
    sent only once `released` is set; etag: sent instead of the MD5, "" for none; part_status, part_bytes: answer to a
    request for a part by its number; head_statuses: of the first HEADs; tells_total: whether Content-Range has the
    object's size. requests: method, first and last byte of each.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, int, int]] = field(default_factory=list)
    claimed: int = 0
    obeys_if_match: bool = True
    hold_after: int | None = None
    etag: str | None = None
    part_status: int | None = None
    part_bytes: int | None = None
    head_statuses: list[int] = field(default_factory=list)
    tells_total: bool = True
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @property
    def gets(self) -> list[tuple[int, int]]:
        return [(first, last) for method, first, last in self.requests if method == "GET"]


@contextmanager
def faulty_server(**settings) -> Iterator[FaultyServer]:
    state, lock = FaultyServer(**settings), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            name, _, query = self.path.partition("?")
            content = state.objects.get(name)
            with lock:
                fault = state.faults.pop(0) if body and state.faults else Fault()
                if "partNumber" in query:
                    fault = Fault(status=state.part_status)
                elif not body and state.head_statuses:
                    fault = Fault(status=state.head_statuses.pop(0))
                if fault.replace is not None:
                    content = state.objects[name] = fault.replace
                size = 0 if content is None else len(content) + state.claimed
                first, last = 0, size - 1
                if "Range" in self.headers:
                    bounds = self.headers["Range"].removeprefix("bytes=").split("-")
                    first, last = int(bounds[0]), min(int(bounds[1]), size - 1)
                state.requests.append((self.command, first, last))
            etag = hashlib.md5(content or b"").hexdigest() if state.etag is None else state.etag
            etag = f'"{etag}"' if etag else None
            status = fault.status or (404 if content is None else 206 if "Range" in self.headers else 200)
            if state.obeys_if_match and self.headers.get("If-Match", etag) != etag:
                status = 412
            self.send_response(status)
            if status >= 400:
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size if state.tells_total else '*'}")
            if etag:
                self.send_header("ETag", etag)
            length = state.part_bytes if "partNumber" in query else last - first + 1
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if not body:
                return
            out = bytearray(content[first : last + 1])
            if fault.flip is not None and first <= fault.flip <= last:
                out[fault.flip - first] ^= 1
            self.send(out, first, fault.cut_after)

        def send(self, out, first, cut_after):
            for start in range(0, len(out[:cut_after]), 16 * 1024):
                if state.hold_after is not None and first + start >= state.hold_after:
                    state.released.wait()
                self.wfile.write(out[:cut_after][start : start + 16 * 1024])
            # A body shorter than announced: the client waits for the rest until the connection is closed.
            self.close_connection = cut_after is not None or state.claimed > 0

        def handle(self):
            with suppress(ConnectionResetError, BrokenPipeError):  # some tests kill the client
                super().handle()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()
