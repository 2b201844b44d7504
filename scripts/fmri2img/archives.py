"""ZIP archives, which are looked at before they are unpacked: a small one can expand to fill a disk or the memory."""

import zipfile
from pathlib import Path

from fmri2img.errors import UserError
from fmri2img.reading import readable

RATIO, FREE = 200, 2**30  # an archive may expand to RATIO times its size, and any archive to FREE bytes


def check_expansion(path: str | Path) -> None:
    """Raise UserError when a ZIP archive expands beyond all measure, by the sizes that it lists."""
    with zipfile.ZipFile(path) as archive:
        expanded = sum(member.file_size for member in archive.infolist())
    size = Path(path).stat().st_size
    if expanded > max(FREE, RATIO * size):
        raise UserError(
            f"{path}: would expand from {size / 1e6:.1f} MB to {expanded / 1e9:.1f} GB, and is not unpacked; replace "
            "it by what it should hold"
        )


def unpack(path: str | Path, into: str | Path, remedy: str) -> None:
    """Unpack a ZIP archive below the folder `into`. Raises UserError for one that is damaged or expands too far."""
    with readable(path, "a complete ZIP archive", remedy):
        check_expansion(path)
        with zipfile.ZipFile(path) as archive:
            archive.extractall(into)
