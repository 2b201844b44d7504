"""Files that users bring: which of a folder's are meant, and what to do about one that is damaged."""

from collections.abc import Iterable
from pathlib import Path

from fmri2img.errors import UserError


def visible(paths: Iterable[Path]) -> list[Path]:
    """The paths in order, without what other systems leave in folders: ._name of macOS, .DS_Store, .name.part."""
    return sorted(path for path in paths if not path.name.startswith("."))


def is_there(path: Path) -> bool:
    """Whether a user's folder has a file.

    What only looks like no file raises UserError: a broken link (such as those that DataLad leaves for files that were
    not fetched), a folder of that name, a folder that may not be read.
    """
    try:
        if path.is_file():
            return True
        if path.is_symlink() or path.exists():
            kind = "a link to a file that is not there" if path.is_symlink() else "not a file"
            raise UserError(f"{path}: is {kind}; fetch or replace it, or remove it, so that it counts as missing")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); change its permissions") from None
    return False


def renew(path: str | Path) -> str:
    """What to do about a file of a dataset that cannot be used, for the end of a message."""
    path = Path(path)
    if path.is_symlink():
        return f"it is a link to {path.resolve()}: correct or replace that file, then run again"
    return "delete it and rerun, so that it is made or downloaded again; if it is your own, correct or replace it"
