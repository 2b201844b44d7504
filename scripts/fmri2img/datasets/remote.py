"""Objects on a server, read by byte ranges: anonymous S3, and plain HTTP for COCO's archive.

Every failure is one of four: UserError (the request will never succeed), Transient (worth another try), Changed (the
object on the server is no longer the one that we began to read), or a programming error, which is passed on.
"""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPException

import boto3
import botocore.exceptions
import urllib3.exceptions
from botocore import UNSIGNED
from botocore.config import Config

from fmri2img.errors import UserError

BLOCK_BYTES = 128 * 1024
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 20, 60


class Transient(Exception):
    """The server or the network failed in a way that often passes."""


class Changed(Exception):
    """The object's version on the server is not the requested one."""


@dataclass(frozen=True)
class Version:
    """Which bytes an object holds: its size, the server's tag for them, and how S3 made that tag.

    etag: "" if the server sends none; md5_part_bytes: 0 when the ETag is the MD5 of the whole object, the size of an
    upload part when it is the MD5 of the parts' MD5s ("<hex>-<parts>"), None when the tag does not depend on the
    content alone.
    """

    size: int
    etag: str
    md5_part_bytes: int | None = None


class S3Object:
    """One object of a public bucket, read without credentials.

    endpoint: URL of an S3 server other than Amazon's, or None. Raises UserError when these settings, or those in the
    user's AWS configuration, are malformed.
    """

    def __init__(self, bucket: str, key: str, region: str, endpoint: str | None, connections: int = 4) -> None:
        self.bucket, self.key, self.endpoint = bucket, key, endpoint
        self.name = f"s3://{bucket}/{key}"
        config = Config(
            signature_version=UNSIGNED,
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            max_pool_connections=connections,
            # Retries are ours: botocore's do not cover a body that breaks off.
            retries={"total_max_attempts": 1},
            # Many servers that are not Amazon's refuse the checksums that botocore requests by default.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if endpoint else "auto"},
        )
        with _failures(self):
            self.client = boto3.client("s3", region_name=region, endpoint_url=endpoint, config=config)

    def head(self) -> Version:
        """Size and tag of the object as it is now. Raises UserError (403, 404), Transient or Changed (412, 416)."""
        with _failures(self):
            answer = self.client.head_object(Bucket=self.bucket, Key=self.key)
            size, etag = _size(self.name, answer.get("ContentLength")), answer.get("ETag", "").strip('"')
            parts = re.fullmatch(r"[0-9a-f]{32}(?:-(\d+))?", etag)
            if parts is None or answer.get("ServerSideEncryption", "AES256") != "AES256":
                return Version(size, etag)
            if parts[1] is None:
                return Version(size, etag, 0)
            try:
                first = self.client.head_object(Bucket=self.bucket, Key=self.key, PartNumber=1).get("ContentLength")
            except botocore.exceptions.ClientError:
                first = None  # many other servers do not support part numbers, and answer with any status
            # Parts of unequal size are allowed; then the tag cannot be recomputed from the first one's.
            return Version(size, etag, first if first and -(-size // first) == int(parts[1]) else None)

    def page(self, after: str | None = None) -> tuple[dict[str, int], str | None]:
        """Objects whose keys begin with this one's: key -> size, and where the next page begins (None on the last).

        after: what the page before returned. Raises UserError (such as 403), or Transient.
        """
        with _failures(self):
            place = {"ContinuationToken": after} if after else {}
            answer = self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.key, **place)
        following = answer.get("NextContinuationToken")
        if answer.get("IsTruncated") and not following:
            raise Transient(f"{self.name}: the server's list of objects ends before its end")
        return {one["Key"]: int(one["Size"]) for one in answer.get("Contents", [])}, following

    def read(self, start: int, stop: int, version: Version) -> Iterator[bytes]:
        """Bytes [start, stop) in blocks. Raises Changed when the object is no longer `version`."""
        with _failures(self):
            condition = {"IfMatch": f'"{version.etag}"'} if version.etag else {}
            answer = self.client.get_object(
                Bucket=self.bucket, Key=self.key, Range=f"bytes={start}-{stop - 1}", **condition
            )
            with closing(answer["Body"]) as body:
                etag = answer.get("ETag", "").strip('"')
                _check_range(self.name, answer.get("ContentRange"), etag, start, stop, version)
                yield from body.iter_chunks(BLOCK_BYTES)


class WebObject:
    """One file on a web server that supports byte ranges."""

    def __init__(self, url: str) -> None:
        self.name = self.endpoint = url

    def head(self) -> Version:
        with _failures(self):
            try:
                with self._open(method="HEAD") as answer:
                    return Version(_size(self.name, answer.headers["Content-Length"]), self._tag(answer))
            except urllib.error.HTTPError as error:
                if error.code not in (403, 405):
                    raise
            # Some servers redirect to addresses that are signed for GET alone; then the first byte tells the size.
            with self._open(headers={"Range": "bytes=0-0"}) as answer:
                total = (answer.headers["Content-Range"] or "").rpartition("/")[2]
                return Version(_size(self.name, total), self._tag(answer))

    def read(self, start: int, stop: int, version: Version) -> Iterator[bytes]:
        """Bytes [start, stop) in blocks. Raises Changed when the file is no longer `version`."""
        with _failures(self), self._open(headers={"Range": f"bytes={start}-{stop - 1}"}) as answer:
            _check_range(self.name, answer.headers["Content-Range"], self._tag(answer), start, stop, version)
            left = stop - start
            while block := answer.read(min(BLOCK_BYTES, left)):
                left -= len(block)
                yield block
        if left:
            raise Transient(f"{self.name}: the connection ended {left} bytes early")

    def _open(self, **request):
        return urllib.request.urlopen(urllib.request.Request(self.name, **request), timeout=READ_TIMEOUT_S)

    @staticmethod
    def _tag(answer) -> str:
        return (answer.headers["ETag"] or answer.headers["Last-Modified"] or "").strip('"')


def _size(name: str, length: str | int | None) -> int:
    if length is None:
        raise UserError(f"{name}: the server does not report the file's size; use another mirror")
    return int(length)


def _check_range(name: str, content_range: str | None, etag: str, start: int, stop: int, version: Version) -> None:
    # Some servers ignore If-Match, others send no tag.
    if etag and version.etag and etag != version.etag:
        raise Changed(name)
    bounds, _, total = (content_range or "").rpartition("/")
    if total not in ("", "*", str(version.size)):  # "*": the server does not know the total
        raise Changed(name)
    if bounds != f"bytes {start}-{stop - 1}":
        raise UserError(f"{name}: the server does not support byte ranges; use another mirror")


@contextmanager
def _failures(remote: S3Object | WebObject) -> Iterator[None]:
    """Turn the exceptions of a request into UserError, Transient or Changed."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise _by_status(remote.name, error.response["ResponseMetadata"]["HTTPStatusCode"], str(error)) from error
    except urllib.error.HTTPError as error:
        raise _by_status(remote.name, error.code, str(error)) from error
    except (
        botocore.exceptions.ConnectionError,
        botocore.exceptions.HTTPClientError,
        botocore.exceptions.IncompleteReadError,
        urllib3.exceptions.HTTPError,
        HTTPException,
        OSError,  # URLError, timeouts, connection resets
    ) as error:
        raise Transient(f"{remote.name}: {error or type(error).__name__}") from error
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        # A malformed endpoint or bucket name.
        raise UserError(
            f"{remote.name}: {error}; check bucket, region and endpoint in the dataset's settings, and the AWS settings"
        ) from error


def _by_status(name: str, status: int, text: str) -> Exception:
    if status == 403:
        return UserError(
            f"{name}: 403, access denied: the object is not public (some are kept back before their release) "
            "or the bucket or endpoint in the dataset's settings is wrong; requests are never signed, so credentials "
            "do not matter"
        )
    if status == 404:
        return UserError(f"{name}: 404, there is no such object; check bucket and endpoint in the dataset's settings")
    if status in (412, 416):
        return Changed(name)
    if status >= 500 or status in (408, 425, 429):
        return Transient(f"{name}: {text}")
    return UserError(f"{name}: the server refuses the request ({text})")
