"""A dataset in a tree of files that is simulated, downloaded from a bucket, or linked from a copy that the user has."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from fmri2img import user_files
from fmri2img.datasets import lockfile
from fmri2img.datasets.dataset import FolderDataset
from fmri2img.datasets.own_files import is_there


class TreeDataset(FolderDataset):
    """A dataset whose settings also have `bucket` with `copied`, the folder that files are linked from, or None.

    Keys are paths below `root`, and below the copy.
    """

    def tree(self, key: str) -> str:
        """Path of a file of the tree."""
        return str(self.root / key)

    @property
    def copied(self) -> Path | None:
        """The user's own copy, where files may come from it."""
        copied = None if self.simulated else self.settings.bucket.copied
        return Path(copied) if copied else None

    def is_copied(self, key: str) -> bool:
        return self.copied is not None and is_there(self.copied / key)

    def found(self, paths: Iterable[str | Path]) -> str | None:
        """Of files of the tree: sizes and times of those that are linked from the user's copy, or are the user's own.

        Betas are gone from the tree once they are masked, and may then go from the copy too; they count as they were.
        """
        if self.simulated:
            return None
        states = {key: self._state(key) for key in (Path(path).relative_to(self.root).as_posix() for path in paths)}
        return user_files.digest([*states.items()]) if any(states.values()) else None

    def _state(self, key: str) -> Sequence[int] | None:
        """Size and time of a file that was linked, or will be; None of one that is downloaded."""
        recorded, path = lockfile.linked(self.root, key), self.root / key
        if recorded is None and lockfile.record_path(self.root, key).exists():
            return None
        if is_there(path) and (recorded is None or not path.is_symlink()):
            return user_files.state(path)
        return user_files.state(self.copied / key) if self.copied and self.is_copied(key) else recorded
