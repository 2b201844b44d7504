"""Acquisition of NSD against a local S3 server (moto) and a byte-range server with planted faults."""

import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import boto3
import h5py
import numpy as np
import pytest
import scipy.io
from servers import BUCKET, Fault, faulty_server, s3_server, serve_tree

from fmri2img.datasets import lockfile, transfer
from fmri2img.datasets.acquisition import WHOLE_ATTEMPTS
from fmri2img.datasets.nsd import acquisition, layout
from fmri2img.datasets.nsd.acquisition import Source, acquire, acquire_annotations, check_betas_are_own
from fmri2img.datasets.opening import Unreadable, check_opens
from fmri2img.datasets.progress import Progress
from fmri2img.datasets.remote import S3Object
from fmri2img.errors import UserError

BETAS = layout.betas("subj01", "b3", 1)
MASK = layout.roi("subj01", "nsdgeneral")
REPOSITORY = Path(__file__).resolve().parents[2]
ACQUIRE_PY = REPOSITORY / "scripts/fmri2img/datasets/nsd/scripts/acquire.py"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY / "scripts")}


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch):
    monkeypatch.setattr(transfer, "BACKOFF_S", 0.001)


@pytest.fixture
def small_ranges(monkeypatch):
    """Ranges of 64 KiB one after the other, so that the order of requests is known."""
    monkeypatch.setattr(transfer, "RANGE_BYTES", 64 * 1024)
    monkeypatch.setattr(transfer, "CONNECTIONS", 1)


def hdf5_bytes(n_voxels=400, seed=0) -> bytes:
    """Betas as NSD stores them, 750 trials of one voxel a chunk: about 600 kB."""
    file = io.BytesIO()
    with h5py.File(file, "w", libver="earliest") as h5:
        values = np.random.default_rng(seed).integers(-3000, 3000, (750, 1, 1, n_voxels), dtype="<i2")
        h5.create_dataset("betas", data=values, chunks=(750, 1, 1, 1))
    return file.getvalue()


def write_tree(root: Path) -> None:
    """One file of each format of NSD's layout."""
    files = {
        BETAS: hdf5_bytes(),
        MASK: gzip.compress(np.random.default_rng(1).integers(-1, 2, 20_000, dtype=np.int16).tobytes()),
        layout.STIMULUS_INFO: b',cocoId,cropBox\n0,262145,"(0, 0, 0.1, 0.1)"\n',
        layout.responses("subj01"): b"SUBJECT\tSESSION\tRT\n1\t1\tNaN\n",
    }
    for key, content in files.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(content)
    design = root / layout.EXPERIMENT_DESIGN
    design.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(design, {"masterordering": np.arange(1.0, 31)[None]})


def source(url: str, **settings) -> Source:
    return Source(**({"terms_accepted": True, "endpoint": url} | settings))


def s3_path(key: str) -> str:
    return f"/{BUCKET}/{key}"


def left_behind(root: Path) -> list[str]:
    return [path.name for path in root.rglob("*") if path.is_file() and path.suffix != ".busy"]


# What must work


def test_a_tree_acquired_over_s3_is_the_tree_on_disk_and_is_locked(tmp_path):
    write_tree(tmp_path / "original")
    with s3_server() as (url, owner):
        keys = serve_tree(owner, tmp_path / "original")
        for key in keys:
            acquire(key, tmp_path / "tree", source(url))
    assert len(keys) == 5
    for key in keys:
        content = (tmp_path / "original" / key).read_bytes()
        assert (tmp_path / "tree" / key).read_bytes() == content
        record = lockfile.verify(tmp_path / "tree", key)
        assert (record.size, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert record.etag == hashlib.md5(content).hexdigest()
    assert not [name for name in left_behind(tmp_path / "tree") if ".part" in name]


def test_a_file_that_is_there_is_not_downloaded_again(tmp_path):
    with faulty_server(objects={s3_path(MASK): gzip.compress(b"mask")}) as server:
        acquire(MASK, tmp_path, source(server.url))
        before = list(server.requests)
        acquire(MASK, tmp_path, source(server.url))
        users_own = tmp_path / layout.roi("subj02", "nsdgeneral")
        users_own.parent.mkdir(parents=True)
        users_own.write_bytes(gzip.compress(b"the user's"))
        acquire(layout.roi("subj02", "nsdgeneral"), tmp_path, source(server.url))
    assert server.requests == before
    assert gzip.decompress(users_own.read_bytes()) == b"the user's"


def test_the_tag_of_an_object_uploaded_in_parts_is_recomputed(tmp_path):
    content = np.random.default_rng(0).bytes(2 * 5 * 2**20 + 1000)
    with s3_server() as (url, owner):
        upload = owner.create_multipart_upload(Bucket=BUCKET, Key="big.bin", ACL="public-read")["UploadId"]
        parts = []
        for number, start in enumerate(range(0, len(content), 5 * 2**20), 1):
            body = content[start : start + 5 * 2**20]
            answer = owner.upload_part(Bucket=BUCKET, Key="big.bin", UploadId=upload, PartNumber=number, Body=body)
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        owner.complete_multipart_upload(Bucket=BUCKET, Key="big.bin", UploadId=upload, MultipartUpload={"Parts": parts})
        remote = S3Object(BUCKET, "big.bin", "us-east-2", url)
        version = remote.head()
        digest = transfer.download(remote, version, tmp_path / "big.bin.part", Progress("big.bin", version.size))
    assert version.md5_part_bytes == 5 * 2**20 and version.etag.endswith("-3")
    assert digest.etag() == version.etag and digest.check()
    assert (tmp_path / "big.bin.part").read_bytes() == content


def test_coco_annotations_come_out_of_their_archive(tmp_path):
    packed = io.BytesIO()
    contents = {key: json.dumps({"annotations": [key] * 5000}).encode() for key in acquisition.ANNOTATIONS}
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, content in contents.items():
            archive.writestr(key, content)
    with faulty_server(objects={"/coco.zip": packed.getvalue()}, faults=[Fault(cut_after=700)]) as server:
        acquire_annotations(tmp_path, source(server.url, coco_url=f"{server.url}/coco.zip"))
        for key, content in contents.items():
            record = lockfile.verify(tmp_path, key)
            assert (record.source, record.sha256) == (f"{server.url}/coco.zip", hashlib.sha256(content).hexdigest())
    assert {key: (tmp_path / key).read_bytes() for key in contents} == contents
    assert sorted(left_behind(tmp_path / "annotations")) == sorted(Path(key).name for key in contents)


# What the user must be told


def test_nothing_is_requested_before_the_terms_are_accepted(tmp_path):
    with faulty_server(objects={s3_path(MASK): b"x"}) as server:
        for get in (lambda s: acquire(MASK, tmp_path, s), lambda s: acquire_annotations(tmp_path, s)):
            with pytest.raises(UserError, match=r"nsd\.bucket\.terms_accepted.*https://forms\.gle/xue2bCdM9LaFNMeb7"):
                get(source(server.url, terms_accepted=False))
    assert server.requests == []


def test_a_held_out_session_is_explained_and_not_asked_for_again(tmp_path):
    held_out = layout.betas("subj01", "b3", 40)
    with s3_server() as (url, owner):
        owner.put_object(Bucket=BUCKET, Key=held_out, Body=b"private")
        with pytest.raises(UserError, match=r"session40.*403.*not public.*never signed"):
            acquire(held_out, tmp_path, source(url))
        with pytest.raises(UserError, match=r"session41.*404.*no such object"):
            acquire(layout.betas("subj01", "b3", 41), tmp_path, source(url))
    assert left_behind(tmp_path) == []
    with (
        faulty_server(objects={s3_path(BETAS): hdf5_bytes()}, faults=[Fault(status=403)]) as server,
        pytest.raises(UserError, match="403"),
    ):
        acquire(BETAS, tmp_path, source(server.url))
    assert len(server.gets) <= transfer.CONNECTIONS + 1 and BETAS not in left_behind(tmp_path)


@pytest.mark.parametrize(
    ("settings", "profile", "message"),
    [
        ({"endpoint": "localhost:9000"}, None, r"Invalid endpoint: localhost:9000; check bucket, region and endpoint"),
        ({"region": "us east"}, None, r"us east.*check bucket, region and endpoint"),
        ({}, "elsewhere", r"profile \(elsewhere\).*the AWS settings"),
    ],
)
def test_settings_that_mean_no_server_are_named(tmp_path, monkeypatch, settings, profile, message):
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    with pytest.raises(UserError, match=message) as error:
        acquire(MASK, tmp_path, Source(terms_accepted=True, **settings))
    assert "\n" not in str(error.value)


def test_a_missing_library_is_not_the_files_fault(tmp_path, monkeypatch):
    content = hdf5_bytes()
    with faulty_server(objects={s3_path(BETAS): content}) as server:
        with monkeypatch.context() as without, pytest.raises(ImportError):
            without.setitem(sys.modules, "h5py", None)
            acquire(BETAS, tmp_path, source(server.url))
        assert (tmp_path / f"{BETAS}.part").read_bytes() == content
        downloaded = len(server.gets)
        acquire(BETAS, tmp_path, source(server.url))
    assert len(server.gets) == downloaded and (tmp_path / BETAS).read_bytes() == content


def test_too_little_disk_is_found_before_the_first_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000_000))
    with (
        faulty_server(objects={s3_path(BETAS): hdf5_bytes()}) as server,
        pytest.raises(UserError, match=r"betas_session01\.hdf5: needs 0\.\d MB, but 10\.0 MB are free"),
    ):
        acquire(BETAS, tmp_path, source(server.url))
    assert server.gets == [] and left_behind(tmp_path) == []


def test_a_disk_that_fills_up_is_named_and_the_rest_is_resumed(tmp_path, monkeypatch, small_ranges):
    content = hdf5_bytes()
    disk = {"left": 200_000}

    class FullDisk(io.FileIO):
        def write(self, block):
            if disk["left"] < len(block):
                raise OSError(errno.ENOSPC, "No space left on device")
            disk["left"] -= len(block)
            return super().write(block)

    def limited_open(path, mode, buffering):
        return FullDisk(path, mode.replace("b", ""))

    with faulty_server(objects={s3_path(BETAS): content}) as server:
        monkeypatch.setattr(transfer, "open", limited_open, raising=False)
        with pytest.raises(UserError, match=r"betas_session01\.hdf5\.part: the disk is full"):
            acquire(BETAS, tmp_path, source(server.url))
        assert not (tmp_path / BETAS).exists()
        disk["left"] = 10**9
        server.requests.clear()
        acquire(BETAS, tmp_path, source(server.url))
    assert (tmp_path / BETAS).read_bytes() == content
    assert server.gets[0][0] == 3 * 64 * 1024  # what fitted was kept


# Faults of server and network


def test_503_is_tried_again_and_404_is_not(tmp_path, small_ranges):
    content = hdf5_bytes()
    with faulty_server(objects={s3_path(BETAS): content}, faults=[Fault(status=503)] * 3) as server:
        acquire(BETAS, tmp_path, source(server.url))
        assert server.gets[:4] == [(0, 65535)] * 4
        server.requests.clear()
        with pytest.raises(UserError, match="404"):
            acquire(layout.betas("subj01", "b3", 2), tmp_path, source(server.url))
    assert len(server.requests) == 1
    assert (tmp_path / BETAS).read_bytes() == content


def test_a_server_that_stays_away_is_given_up(tmp_path):
    with faulty_server() as server:
        url = server.url
    with pytest.raises(UserError, match=rf"given up after {transfer.ATTEMPTS} attempts"):
        acquire(BETAS, tmp_path, source(url))
    assert left_behind(tmp_path) == []


def test_after_a_cut_connection_only_the_missing_bytes_are_asked_for(tmp_path, monkeypatch):
    content = hdf5_bytes()
    monkeypatch.setattr(transfer, "CONNECTIONS", 1)
    cut = len(content) // 2
    with faulty_server(objects={s3_path(BETAS): content}, faults=[Fault(cut_after=cut)]) as server:
        acquire(BETAS, tmp_path, source(server.url))
    (whole, rest) = server.gets
    assert whole == (0, len(content) - 1)
    assert cut - 128 * 1024 <= rest[0] <= cut and rest[1] == len(content) - 1  # at most a block is lost
    assert (tmp_path / BETAS).read_bytes() == content


def test_a_truncated_object_never_appears(tmp_path):
    content = hdf5_bytes()
    with (
        faulty_server(objects={s3_path(BETAS): content[:-5000]}, claimed=5000) as server,
        pytest.raises(UserError, match="given up"),
    ):
        acquire(BETAS, tmp_path, source(server.url))
    assert not (tmp_path / BETAS).exists()
    assert lockfile.read(tmp_path, BETAS) is None


@pytest.mark.parametrize("obeys_if_match", [True, False])
def test_an_object_that_changes_under_way_is_read_from_its_new_beginning(tmp_path, small_ranges, obeys_if_match):
    old, new = hdf5_bytes(seed=0), hdf5_bytes(seed=1)
    faults = [Fault(), Fault(), Fault(replace=new)]
    objects = {s3_path(BETAS): old}
    with faulty_server(objects=objects, faults=faults, obeys_if_match=obeys_if_match) as server:
        acquire(BETAS, tmp_path, source(server.url))
    assert (tmp_path / BETAS).read_bytes() == new
    assert lockfile.read(tmp_path, BETAS).etag == hashlib.md5(new).hexdigest()


def test_what_is_left_of_an_older_version_is_not_resumed(tmp_path, small_ranges):
    old, new = hdf5_bytes(seed=0), hdf5_bytes(seed=1)
    failing = [Fault(), Fault(), *[Fault(status=500)] * transfer.ATTEMPTS]
    with faulty_server(objects={s3_path(BETAS): old}, faults=failing) as server:
        with pytest.raises(UserError, match="given up"):
            acquire(BETAS, tmp_path, source(server.url))
        assert (tmp_path / f"{BETAS}.part").read_bytes() == old[: 2 * 64 * 1024]
        server.objects[s3_path(BETAS)] = new
        server.requests.clear()
        acquire(BETAS, tmp_path, source(server.url))
    assert server.gets[0][0] == 0
    assert (tmp_path / BETAS).read_bytes() == new


def test_an_object_that_changes_after_its_first_download_is_refused_until_accepted(tmp_path):
    old, new = gzip.compress(b"old"), gzip.compress(b"new")
    etags = [hashlib.md5(content).hexdigest() for content in (old, new)]
    with faulty_server(objects={s3_path(MASK): old}) as server:
        acquire(MASK, tmp_path, source(server.url))
        (tmp_path / MASK).unlink()  # as betas are after masking
        acquire(MASK, tmp_path, source(server.url))
        (tmp_path / MASK).unlink()
        server.objects[s3_path(MASK)] = new
        with pytest.raises(UserError, match=rf"nsdgeneral.*recorded ETag {etags[0]}.*now ETag {etags[1]}.*delete"):
            acquire(MASK, tmp_path, source(server.url))
        assert not (tmp_path / MASK).exists()
        lockfile.record_path(tmp_path, MASK).unlink()
        acquire(MASK, tmp_path, source(server.url))
    assert (tmp_path / MASK).read_bytes() == new


def test_a_bit_flipped_on_the_way_is_found_and_the_object_fetched_again(tmp_path, small_ranges):
    content = hdf5_bytes()
    with faulty_server(objects={s3_path(BETAS): content}, faults=[Fault(flip=60_000)]) as server:
        acquire(BETAS, tmp_path, source(server.url))
        assert (tmp_path / BETAS).read_bytes() == content
        (tmp_path / BETAS).unlink()
        lockfile.record_path(tmp_path, BETAS).unlink()
        ranges = -(-len(content) // transfer.RANGE_BYTES)
        server.faults = [Fault(flip=60_000)] * ranges + [Fault(flip=50_000)] * ranges
        with pytest.raises(UserError, match=r"damaged on the way.*in 2 downloads"):
            acquire(BETAS, tmp_path, source(server.url))
    assert not [name for name in left_behind(tmp_path) if name.startswith("betas")]


# Servers that are not Amazon's


@pytest.mark.parametrize("status", [400, 403, 416, 500, 501])
def test_a_server_that_knows_no_part_numbers(tmp_path, status):
    content = hdf5_bytes()
    tag = f"{hashlib.md5(content).hexdigest()}-3"
    with faulty_server(objects={s3_path(BETAS): content}, etag=tag, part_status=status) as server:
        acquire(BETAS, tmp_path, source(server.url))
        assert S3Object(BUCKET, BETAS, "us-east-2", server.url).head().md5_part_bytes is None
    assert (tmp_path / BETAS).read_bytes() == content and lockfile.read(tmp_path, BETAS).etag == tag


@pytest.mark.parametrize("answer", [{"etag": ""}, {"tells_total": False}, {"etag": "", "tells_total": False}])
def test_a_server_that_sends_no_tag_or_no_total(tmp_path, small_ranges, answer):
    content = hdf5_bytes()
    with faulty_server(objects={s3_path(BETAS): content}, faults=[Fault(cut_after=30_000)], **answer) as server:
        acquire(BETAS, tmp_path, source(server.url))
    assert (tmp_path / BETAS).read_bytes() == content
    assert lockfile.read(tmp_path, BETAS).etag == answer.get("etag", hashlib.md5(content).hexdigest())


def test_an_object_that_changes_while_it_is_asked_for(tmp_path):
    content = hdf5_bytes()
    with faulty_server(objects={s3_path(BETAS): content}, head_statuses=[416]) as server:
        acquire(BETAS, tmp_path, source(server.url))
        server.head_statuses = [416] * WHOLE_ATTEMPTS
        with pytest.raises(UserError, match="the object changed while it was read, in 2 downloads"):
            acquire(layout.betas("subj01", "b3", 2), tmp_path, source(server.url))
    assert (tmp_path / BETAS).read_bytes() == content


@pytest.mark.parametrize("suffix", ["", "-1"])
def test_a_tag_that_only_looks_like_an_md5(tmp_path, capsys, suffix):
    content, tag = hdf5_bytes(), "0123456789abcdef" * 2 + suffix
    with faulty_server(objects={s3_path(BETAS): content}, etag=tag, part_bytes=len(content)) as server:
        acquire(BETAS, tmp_path, source(server.url))
        assert "arrived twice with the same SHA-256" in capsys.readouterr().out
        assert len(server.gets) == 2
        (tmp_path / BETAS).unlink()
        acquire(BETAS, tmp_path, source(server.url))  # now the lock knows the content
        assert len(server.gets) == 3
        (tmp_path / BETAS).unlink()
        server.faults = [Fault(flip=60_000)] * 2
        with pytest.raises(UserError, match="damaged on the way: SHA-256 differs"):
            acquire(BETAS, tmp_path, source(server.url))


def test_amazons_tag_is_believed(tmp_path, monkeypatch):
    with faulty_server(objects={s3_path(BETAS): hdf5_bytes()}, etag="0123456789abcdef" * 2) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        with pytest.raises(UserError, match=r"damaged on the way: ETag .*, not 0123.*in 2 downloads"):
            acquire(BETAS, tmp_path, Source(terms_accepted=True))
    assert not (tmp_path / BETAS).exists()


def test_a_damaged_archive_yields_no_annotations(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for key in acquisition.ANNOTATIONS:
            archive.writestr(key, json.dumps([key] * 100))
    with (
        faulty_server(objects={"/coco.zip": packed.getvalue()}, faults=[Fault(flip=200)]) as server,
        pytest.raises(UserError, match=r"annotations_trainval2017\.zip.*CRC.*delete the archive"),
    ):
        acquire_annotations(tmp_path, source(server.url, coco_url=f"{server.url}/coco.zip"))
    assert not list(tmp_path.glob("annotations/*.json"))


def test_a_killed_download_leaves_no_file_and_goes_on_where_it_stopped(tmp_path):
    content = hdf5_bytes(n_voxels=14_000)  # 22 MB: three ranges
    with faulty_server(objects={s3_path(BETAS): content}, hold_after=transfer.RANGE_BYTES) as server:
        settings = json.dumps({"terms_accepted": True, "endpoint": server.url})
        command = [sys.executable, str(ACQUIRE_PY), "--root", str(tmp_path), "--source", settings, BETAS]
        process = subprocess.Popen(command, env=ENVIRONMENT)
        part = tmp_path / f"{BETAS}.part"
        while process.poll() is None and not (part.exists() and part.stat().st_size == transfer.RANGE_BYTES):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (tmp_path / BETAS).exists()
        server.released.set()
        server.requests.clear()
        subprocess.run(command, check=True, env=ENVIRONMENT)
    assert min(first for first, _ in server.gets) == transfer.RANGE_BYTES
    assert (tmp_path / BETAS).read_bytes() == content
    lockfile.verify(tmp_path, BETAS)
    assert not [name for name in left_behind(tmp_path) if ".part" in name]


def test_two_workflows_in_one_tree_download_a_file_once(tmp_path):
    content = hdf5_bytes(n_voxels=14_000)
    with faulty_server(objects={s3_path(BETAS): content}, hold_after=transfer.RANGE_BYTES) as server:
        settings = json.dumps({"terms_accepted": True, "endpoint": server.url})
        command = [sys.executable, str(ACQUIRE_PY), "--root", str(tmp_path), "--source", settings, BETAS]
        logs = [tmp_path / "first.log", tmp_path / "second.log"]
        first = subprocess.Popen([*command, "--log", str(logs[0])], env=ENVIRONMENT)
        while not server.gets and first.poll() is None:
            time.sleep(0.02)
        second = subprocess.Popen([*command, "--log", str(logs[1])], env=ENVIRONMENT)
        while not (logs[1].exists() and "waiting for another" in logs[1].read_text()) and second.poll() is None:
            time.sleep(0.02)
        server.released.set()
        assert (first.wait(), second.wait()) == (0, 0)
    assert len(server.gets) == 3 and (tmp_path / BETAS).read_bytes() == content


# Files on disk


def test_a_bit_flipped_on_disk_is_found_by_the_lock(tmp_path):
    with faulty_server(objects={s3_path(BETAS): hdf5_bytes()}) as server:
        path = acquire(BETAS, tmp_path, source(server.url))
        lockfile.verify(tmp_path, BETAS)
        damaged = bytearray(path.read_bytes())
        damaged[60_000] ^= 1
        path.write_bytes(damaged)
        check_opens(path, BETAS)  # HDF5 alone does not notice
        with pytest.raises(UserError, match=r"betas_session01\.hdf5: differs from what was downloaded"):
            acquire(BETAS, tmp_path, source(server.url))


@pytest.mark.parametrize(
    ("key", "damage"),
    [
        (BETAS, lambda content: content[:-1]),
        (BETAS, lambda content: content[:100]),
        (BETAS, lambda content: b"<html>busy</html>"),
        (MASK, lambda content: content[:-1]),
        (MASK, lambda content: content[:3000] + bytes([content[3000] ^ 1]) + content[3001:]),
        (layout.EXPERIMENT_DESIGN, lambda content: content[:100]),
        (layout.STIMULUS_INFO, lambda content: content[:-12]),
        (layout.responses("subj01"), lambda content: content[:-6]),
        (layout.responses("subj01"), lambda content: b""),
        ("annotations/captions_val2017.json", lambda content: b'{"annotations": ['),
    ],
)
def test_damaged_files_do_not_open(tmp_path, key, damage):
    write_tree(tmp_path)
    content = (tmp_path / key).read_bytes() if (tmp_path / key).exists() else b""
    if content:
        check_opens(tmp_path / key, key)
    (tmp_path / "damaged").write_bytes(damage(content))
    with pytest.raises(Unreadable, match="does not open"):
        check_opens(tmp_path / "damaged", key)


def test_files_of_the_users_copy_are_linked_and_never_requested(tmp_path):
    write_tree(tmp_path / "copy")
    content = (tmp_path / "copy" / BETAS).read_bytes()
    with faulty_server(objects={}) as server:
        path = acquire(BETAS, tmp_path / "tree", source(server.url, copy=str(tmp_path / "copy")))
        assert server.requests == []
        check_betas_are_own(tmp_path / "tree")  # a link may be deleted
        path.unlink()
        assert (tmp_path / "copy" / BETAS).read_bytes() == content
        (tmp_path / "copy" / BETAS).write_bytes(content[:-1])
        with pytest.raises(UserError, match=r"copy/.*betas_session01\.hdf5.*does not open"):
            acquire(BETAS, tmp_path / "tree", source(server.url, copy=str(tmp_path / "copy")))


def test_a_users_own_betas_in_the_tree_are_refused(tmp_path):
    with faulty_server(objects={s3_path(BETAS): hdf5_bytes()}) as server:
        path = acquire(BETAS, tmp_path, source(server.url))
    os.utime(path, (10**9, 10**9))  # Snakemake touches every output when its job ends
    check_betas_are_own(tmp_path)
    refused = r"betas_session01\.hdf5: not downloaded by this workflow.*nsd\.bucket\.copy"
    shutil.copyfile(path, tmp_path / "users.hdf5")
    os.replace(tmp_path / "users.hdf5", path)
    with pytest.raises(UserError, match=refused):
        check_betas_are_own(tmp_path)


def test_a_users_copy_in_the_place_of_deleted_betas_is_refused(tmp_path):
    content = hdf5_bytes()
    with faulty_server(objects={s3_path(BETAS): content}) as server:
        path = acquire(BETAS, tmp_path, source(server.url))
    inode = path.stat().st_ino
    path.unlink()
    # File systems give the inode number of a deleted file to a new one before long.
    for n in range(50):
        users = path.with_name(f"{n}.hdf5")
        users.write_bytes(content)
        if users.stat().st_ino == inode:
            break
    os.replace(users, path)
    with pytest.raises(UserError, match=r"betas_session01\.hdf5: not downloaded by this workflow"):
        check_betas_are_own(tmp_path)


def test_betas_that_another_job_deletes_meanwhile_are_passed_over(tmp_path, monkeypatch):
    with faulty_server(objects={s3_path(BETAS): hdf5_bytes()}) as server:
        path = acquire(BETAS, tmp_path, source(server.url))
    is_own = lockfile.is_own

    def deleted_before(root, key):
        path.unlink()
        return is_own(root, key)

    monkeypatch.setattr(lockfile, "is_own", deleted_before)
    check_betas_are_own(tmp_path)
    assert not path.exists()


def test_bandwidth_is_logged(tmp_path, capsys):
    with faulty_server(objects={s3_path(BETAS): hdf5_bytes()}) as server:
        acquire(BETAS, tmp_path, source(server.url))
    assert "betas_session01.hdf5: 0.6 MB in" in (out := capsys.readouterr().out) and "MB/s" in out
