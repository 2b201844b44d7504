"""NSD's files by kind, and where they come from: the user's copy, NSD's bucket, COCO's archive; and how many GB."""

import re
from pathlib import Path

from fmri2img.datasets.inventory import DOWNLOADED, LINKED, Source, Way
from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.settings import Bucket

ANNOTATIONS = "annotations/"
BETAS = re.compile(r"/ppdata/([^/]+)/.*/betas_(session(\d\d)|\w+)\.")
EXPERIMENTS = {layout.IMAGERY: "NSD-Imagery", layout.SYNTHETIC: "NSD-Synthetic"}


def sources_of(keys: list[str], linked: set[str], bucket: Bucket, root: Path) -> list[Source]:
    """Files of NSD by kind: those that are in the user's copy, and are linked, and those that are downloaded.

    keys: of the tree `root`; linked: those of them that the copy has.
    """
    copied = [key for key in keys if key in linked]
    fetched = [key for key in keys if key not in linked]
    annotations = [key for key in fetched if key.startswith(ANNOTATIONS)]
    own = [key for key in fetched if not key.startswith(ANNOTATIONS)]
    origins: list[tuple[list[str], Way, str]] = [
        (copied, LINKED, f"{bucket.copied} (key nsd.bucket.copy)"),
        (own, DOWNLOADED, f"s3://{bucket.bucket} (key nsd.bucket.bucket)"),
        (annotations, DOWNLOADED, f"{bucket.coco_url} (key nsd.bucket.coco_url)"),
    ]
    return [
        Source(what, [root / key for key in files], way, origin, gigabytes(files))
        for part, way, origin in origins
        for what, files in described(part).items()
    ]


def gigabytes(keys: list[str]) -> float:
    """Rough size of files. COCO's four annotation files are one archive."""
    names = {layout.COCO_ARCHIVE if key.startswith(ANNOTATIONS) else key for key in keys}
    sessions = sum(bool(BETAS.search(key)) for key in names)
    return sessions * layout.SESSION_GIGABYTES + sum(layout.GIGABYTES.get(key, 0) for key in names)


def described(keys: list[str]) -> dict[str, list[str]]:
    """Keys by what they are: betas by subject and session or experiment, stimuli, annotations, and small files."""
    sessions: dict[str, dict[int, str]] = {}
    further: dict[str, dict[str, str]] = {}
    for key in keys:
        if found := BETAS.search(key):
            if found[3]:
                sessions.setdefault(found[1], {})[int(found[3])] = key
            else:
                further.setdefault(found[2], {})[found[1]] = key
    parts = {
        f"betas of {subject}, sessions {ranges(list(own))}": list(own.values())
        for subject, own in sorted(sessions.items())
    }
    parts |= {
        f"betas of {', '.join(sorted(of))} in {EXPERIMENTS[name]}": list(of.values())
        for name, of in sorted(further.items())
    }
    parts |= {
        "the stimuli": [key for key in keys if key == layout.STIMULI],
        "COCO's annotations": [key for key in keys if key.startswith(ANNOTATIONS)],
    }
    listed = {key for part in parts.values() for key in part}
    small = [key for key in keys if key not in listed]
    parts[f"{len(small)} small files"] = small
    return {what: part for what, part in parts.items() if part}


def ranges(numbers: list[int]) -> str:
    """Ascending numbers in words: "1-37, 39"."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in found)
