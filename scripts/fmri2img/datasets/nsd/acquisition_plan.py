"""What a run gets from where, as it says when it begins: from the user's copy, from NSD's bucket, and how many GB."""

import re
from pathlib import Path

from fmri2img.datasets.nsd import layout
from fmri2img.datasets.nsd.settings import Bucket

BETAS = re.compile(r"/ppdata/([^/]+)/.*/betas_session(\d\d)\.")


def acquisition_plan(keys: list[str], linked: list[str], bucket: Bucket, root: Path) -> list[str]:
    """One line for the user's copy and one for the bucket; none where there is nothing to get.

    keys: files that jobs of the run acquire; linked: those of them that the copy has; root: the tree.
    """
    fetched = [key for key in keys if key not in set(linked)]
    lines = []
    if keys and bucket.copied:
        lines.append(
            f"NSD: of {len(keys)} files that {root} lacks, {len(linked)} are in {bucket.copied} (key nsd.bucket.copy) "
            "and are linked."
        )
    if fetched:
        only = "are not in the copy and are" if bucket.copied else "are"
        lines.append(
            f"NSD: {len(fetched)} files, about {gigabytes(fetched):.1f} GB, {only} downloaded to {root} from "
            f"s3://{bucket.bucket} (key nsd.bucket.bucket): {'; '.join(described(fetched))}."
        )
    return lines


def gigabytes(keys: list[str]) -> float:
    """Rough size of files. COCO's four annotation files are one archive."""
    names = {layout.COCO_ARCHIVE if key.startswith("annotations/") else key for key in keys}
    sessions = sum(bool(BETAS.search(key)) for key in names)
    return sessions * layout.SESSION_GIGABYTES + sum(layout.GIGABYTES.get(key, 0) for key in names)


def described(keys: list[str]) -> list[str]:
    """What the files are: sessions of betas by subject, the stimuli, COCO's annotations, and how many others."""
    sessions: dict[str, list[int]] = {}
    for key in keys:
        if found := BETAS.search(key):
            sessions.setdefault(found[1], []).append(int(found[2]))
    parts = [f"betas of {subject}, sessions {ranges(numbers)}" for subject, numbers in sorted(sessions.items())]
    parts += ["the stimuli"] if layout.STIMULI in keys else []
    annotations = [key for key in keys if key.startswith("annotations/")]
    parts += ["COCO's annotations, from their own archive (key nsd.bucket.coco_url)"] if annotations else []
    small = len(keys) - sum(map(len, sessions.values())) - len(annotations) - (layout.STIMULI in keys)
    return parts + ([f"{small} small files"] if small else [])


def ranges(numbers: list[int]) -> str:
    """Ascending numbers in words: "1-37, 39"."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in found)
