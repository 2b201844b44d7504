"""Acquisition of LAION-fMRI from local servers: what is requested, what is not, and what faults of a server do."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers import REGION, Fault, faulty_server, s3_server
from tests.helpers import laion_files as files

from fmri2img.datasets import lockfile, transfer
from fmri2img.datasets.acquisition import check_may_be_deleted
from fmri2img.datasets.laion_fmri import layout
from fmri2img.datasets.laion_fmri.acquisition import Source, acquire, acquire_regions
from fmri2img.datasets.laion_fmri.volumes import Regions
from fmri2img.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
BUCKET, SUBJECT = "laion-fmri", "sub-03"
BETAS = layout.betas(SUBJECT, 1)
GLOB = f"{layout.GLMSINGLE}/*/*/func/*_desc-SingletrialBetas_statmap.nii.gz"


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch):
    monkeypatch.setattr(transfer, "BACKOFF_S", 0.001)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return files.write(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def bucket(original):
    """The tree on an S3 server, without the pictures; sessions 31 and later are private, as in the bucket."""
    with s3_server() as (url, owner):
        owner.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        owner.put_bucket_acl(Bucket=BUCKET, ACL="public-read")  # anyone may list it
        for path in sorted(original.rglob("*")):
            key = path.relative_to(original).as_posix()
            if path.is_file() and key != layout.PICTURES:
                owner.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes(), ACL="public-read")
        owner.put_object(Bucket=BUCKET, Key=layout.betas(SUBJECT, 31), Body=b"held out", ACL="private")
        old = f"{layout.REGION_FOLDERS[1].format(subject='sub-05')}/laion-general.nii.gz"
        owner.put_object(Bucket=BUCKET, Key=old, Body=files.nifti(files.mask()), ACL="public-read")
        yield url


def source(url: str, **settings) -> Source:
    return Source.model_validate({"endpoint": url, "splits_url": url} | settings)


def test_every_public_file_arrives_and_is_locked(bucket, original, tmp_path):
    keys = [BETAS, layout.trials(SUBJECT, 1), layout.noise_ceiling(SUBJECT, "12rep"), layout.r2mean(SUBJECT)]
    keys += [layout.METADATA, layout.CAPTIONS, layout.embeddings("CLIP")]
    for key in keys:
        content = acquire(key, tmp_path, source(bucket)).read_bytes()
        assert content == (original / key).read_bytes()
        record = lockfile.verify(tmp_path, key)
        assert (record.size, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    check_may_be_deleted(tmp_path, GLOB, "laion_fmri")


def test_a_session_that_is_held_out_is_not_requested(tmp_path):
    with faulty_server() as server:
        with pytest.raises(UserError, match=r"session 31 is held out by the authors.*lower laion_fmri\.sessions"):
            acquire(layout.betas(SUBJECT, 31), tmp_path, source(server.url))
        with pytest.raises(UserError, match=r"no such file; request the pictures at https://laion-fmri\.hebartlab"):
            acquire(layout.PICTURES, tmp_path, source(server.url))
    assert server.requests == [] and not (tmp_path / layout.PICTURES).exists()


@pytest.mark.parametrize("subject", [SUBJECT, "sub-05"], ids=["where they are now", "where they were"])
def test_region_masks_are_looked_for_in_both_places(bucket, tmp_path, subject):
    listed = acquire_regions(subject, tmp_path, source(bucket))
    regions = Regions(listed, tmp_path)
    assert set(regions.keys) == ({"laion-general", "FFA-1", "V1v"} if subject == SUBJECT else {"laion-general"})
    assert regions.mask(layout.GENERAL).values.sum() == files.mask().sum()
    assert all(lockfile.read(tmp_path, key) for key in regions.keys.values())
    assert not list(tmp_path.rglob("*res-1pt5*")) and not list(tmp_path.rglob("*.label"))


def test_an_interrupted_download_of_region_masks_goes_on(bucket, original, tmp_path):
    masks = [path for path in (original / f"derivatives/rois/{SUBJECT}").rglob("*res-1pt8*") if path.is_file()]
    first = min(masks).relative_to(original).as_posix()
    acquire(first, tmp_path, source(bucket))  # what is there is part of what is listed
    regions = Regions(acquire_regions(SUBJECT, tmp_path, source(bucket)), tmp_path)
    assert len(regions.keys) == len(masks) > 1
    own = files.put(tmp_path / "own", f"{layout.REGION_FOLDERS[1].format(subject=SUBJECT)}/laion-general.nii.gz",
                    files.nifti(files.mask()))  # fmt: skip
    with faulty_server() as server:  # the user's own masks in the tree are taken as they are
        listed = acquire_regions(SUBJECT, tmp_path / "own", source(server.url))
    assert server.requests == [] and list(Regions(listed, tmp_path / "own").keys.values()) == [
        own.relative_to(tmp_path / "own").as_posix()
    ]


def test_a_bucket_without_masks_names_both_places(bucket, tmp_path):
    with pytest.raises(
        UserError, match=r"neither s3://laion-fmri/derivatives/rois/sub-07 nor .*atlases/sub-07/rois has"
    ):
        acquire_regions("sub-07", tmp_path, source(bucket))


def test_a_copy_is_linked_and_never_deleted(original, tmp_path):
    with faulty_server() as server:
        for key in (BETAS, layout.PICTURES, layout.CAPTIONS):
            path = acquire(key, tmp_path / "tree", source(server.url, copy=str(original)))
            assert path.is_symlink() and path.resolve() == (original / key).resolve()
        regions = Regions(
            acquire_regions(SUBJECT, tmp_path / "tree", source(server.url, copy=str(original))), tmp_path / "tree"
        )
    assert server.requests == [] and regions.mask("FFA-1").values.sum() == 3
    check_may_be_deleted(tmp_path / "tree", GLOB, "laion_fmri")
    with pytest.raises(UserError, match=r"not downloaded by this workflow.*laion_fmri\.bucket\.copy"):
        check_may_be_deleted(original, GLOB, "laion_fmri")


def test_what_a_copy_only_seems_to_lack_is_not_downloaded(tmp_path):
    link = tmp_path / "copy" / BETAS
    link.parent.mkdir(parents=True)
    link.symlink_to("../../nowhere")
    with faulty_server() as server, pytest.raises(UserError, match="is a link to a file that is not there"):
        acquire(BETAS, tmp_path / "tree", source(server.url, copy=str(tmp_path / "copy")))
    assert server.requests == []


@pytest.mark.parametrize(
    "fault",
    [Fault(status=500), Fault(cut_after=300), Fault(flip=500)],
    ids=["500", "a broken connection", "a flipped bit"],
)
def test_a_session_survives_a_fault_of_the_server(original, tmp_path, fault):
    content = (original / BETAS).read_bytes()
    with faulty_server(objects={f"/{BUCKET}/{BETAS}": content}, faults=[fault]) as server:
        assert acquire(BETAS, tmp_path, source(server.url)).read_bytes() == content
    assert [path.name for path in tmp_path.rglob("*.part*")] == []


def test_a_session_that_changed_since_it_was_locked_is_refused(original, tmp_path):
    content = (original / BETAS).read_bytes()
    with faulty_server(objects={f"/{BUCKET}/{BETAS}": content}) as server:
        acquire(BETAS, tmp_path, source(server.url)).unlink()  # masked, then deleted
        server.objects[f"/{BUCKET}/{BETAS}"] = files.nifti(files.betas(2))
        with pytest.raises(UserError, match="the object on the server has changed"):
            acquire(BETAS, tmp_path, source(server.url))
        server.objects.clear()
        with pytest.raises(UserError, match=r"404.*no copy is named in laion_fmri\.bucket\.copy"):
            acquire(layout.trials(SUBJECT, 2), tmp_path, source(server.url))


def test_splits_come_from_the_authors_repository(tmp_path):
    key, text = layout.split(SUBJECT, "tau"), files.split_file("tau", files.IMAGES[:1], files.IMAGES[:3])
    with faulty_server(objects={f"/{key}": text.encode()}, faults=[Fault(status=503)]) as server:
        assert acquire(key, tmp_path, source(server.url)).read_text() == text
        with pytest.raises(UserError, match=r"404.*\(laion_fmri\.bucket\.splits_url\)"):
            acquire(layout.split(SUBJECT, "ood"), tmp_path, source(server.url))


def test_the_script_takes_what_the_rules_give_it(bucket, original, tmp_path):
    script = REPOSITORY / "scripts/fmri2img/datasets/laion_fmri/scripts/acquire.py"
    given = ["--root", str(tmp_path), "--source", json.dumps({"endpoint": bucket}), "--log", str(tmp_path / "log")]
    for target in ([layout.CAPTIONS], ["--regions", SUBJECT]):
        made = subprocess.run(
            [sys.executable, str(script), *given, *target],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY / "scripts")}, capture_output=True, text=True,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
    assert (tmp_path / layout.CAPTIONS).read_bytes() == (original / layout.CAPTIONS).read_bytes()
    assert (tmp_path / layout.region_list(SUBJECT)).is_file()
