"""What the name of an image says: `shared_12rep_LAION_cluster_1003_i0.jpg`, `unique_THINGS+_mitten_p04.jpg`.

The name is the authors' key of an image: in the tables of trials, the captions, the embeddings and the splits.
image_id is the place of a name among all names in ascending order, so it does not depend on which file lists them.
"""

import re
from dataclasses import dataclass

from fmri2img.datasets.laion_fmri import layout
from fmri2img.errors import UserError

UNIQUE_REPEATS = 4  # presentations of an image that one subject saw
DIGITS = re.compile(r"_?\d+$")


@dataclass(frozen=True)
class ImageName:
    """source: LAION, THINGS, NSD, or OOD_ and the type; owner: the subject who saw it, or None for all; repeats: how
    often it was planned to be shown to a subject; concept: what a picture of THINGS shows, or None.
    """

    source: str
    owner: str | None
    repeats: int
    concept: str | None


def read_name(name: str, where: str = "") -> ImageName:
    """Raises UserError for a name that is not of this form; where: the file that has it."""
    found = layout.NAME.fullmatch(name)
    source = found["source"] if found else ""
    owner = found["owner"] if found and found["set"] == "unique" else None
    kind = found["rest"].partition("_")[0] if found and source == "OOD" else None
    if found is None or (found["set"] == "unique") != (owner in layout.OWNERS) or kind not in (None, *layout.OOD_TYPES):
        raise UserError(
            f"{where or name}: '{name}' is not the name of an image of LAION-fMRI, such as "
            "shared_12rep_LAION_cluster_1003_i0.jpg; replace the file"
        )
    concept = None
    if source.startswith("THINGS"):
        words = re.sub(r"^kmeans_\d+_", "", found["rest"])
        concept = DIGITS.sub("", words).replace("_", " ")
    return ImageName(
        f"OOD_{kind}" if kind else source.rstrip("+"),
        layout.OWNERS[owner] if owner else None,
        int(found["repeats"] or UNIQUE_REPEATS),
        concept,
    )


def is_ood(name: str) -> bool:
    return read_name(name).source.startswith("OOD")


def seen_by(names: list[str], subject: str) -> list[str]:
    """The images that a subject was meant to see."""
    return [name for name in names if read_name(name).owner in (None, subject)]
