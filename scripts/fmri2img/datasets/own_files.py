"""Files that users bring: which of a folder's are meant, and what to do about one that is damaged."""

from collections.abc import Iterable
from pathlib import Path


def visible(paths: Iterable[Path]) -> list[Path]:
    """The paths in order, without what other systems leave in folders: ._name of macOS, .DS_Store, .name.part."""
    return sorted(path for path in paths if not path.name.startswith("."))


ABSENT = "run `snakemake` again to make it"  # the remedy of a file that is missing


def renew(path: str | Path) -> str:
    """What to do about a file of a dataset that cannot be used, for the end of a message."""
    path = Path(path)
    if path.is_symlink():
        return f"it is a link to {path.resolve()}: correct or replace that file, then run again"
    return "delete it and rerun, so that it is made or downloaded again; if it is your own, correct or replace it"
