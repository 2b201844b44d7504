"""What a study reads from outside: which files, whether they are there, and who gets them from where.

A dataset lists its own (`Dataset.inventory`). `make data` shows the list before it fetches anything, and a run begins
by saying what of it its jobs download or link. This module is light to import, because every reading of the workflow
imports it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Way = Literal["downloaded", "linked", "placed", "made"]
DOWNLOADED: Way = "downloaded"  # by a rule
LINKED: Way = "linked"  # by a rule, from a copy that the user has
PLACED: Way = "placed"  # by the user alone
MADE: Way = "made"  # by the study's own rules, such as a simulator


@dataclass(frozen=True)
class Source:
    """Files of one kind that a study reads.

    what: what they are ("betas of sub-01, sessions 1-30"); files: files or folders, where the study reads them; way:
    how they get there; origin: the address, bucket or copy that they come from, or for files that the user puts there,
    what to do: "request them at <address> and unpack them there"; gigabytes: of all of them, None if it is not known.
    """

    what: str
    files: list[Path]
    way: Way
    origin: str
    gigabytes: float | None = None

    @property
    def missing(self) -> list[Path]:
        """Those of the files that are not there."""
        return [path for path in self.files if not path.exists()]

    def gigabytes_of(self, files: Collection[Path]) -> float | None:
        """Rough size of some of the files."""
        return None if self.gigabytes is None else self.gigabytes * len(files) / max(1, len(self.files))


def announced(title: str, sources: list[Source], made: Collection[str]) -> list[str]:
    """What a run downloads and links, a line for each origin, as it says when it begins.

    made: paths of the files that jobs of the run make.
    """
    made = {Path(path) for path in made}
    found: dict[tuple[Way, str], list[tuple[Source, list[Path]]]] = {}
    for source in sources:
        own = [path for path in source.files if path in made]
        if own and source.way in (DOWNLOADED, LINKED):
            found.setdefault((source.way, source.origin), []).append((source, own))
    return [_announced(title, way, origin, parts) for (way, origin), parts in found.items()]


def _announced(title: str, way: Way, origin: str, parts: list[tuple[Source, list[Path]]]) -> str:
    count = sum(len(files) for _, files in parts)
    sizes = [size for source, files in parts if (size := source.gigabytes_of(files)) is not None]
    size = f", about {sum(sizes):.1f} GB" if way == DOWNLOADED and sizes else ""
    listed = "; ".join(
        source.what if len(files) == len(source.files) else f"{source.what} ({len(files)} of {len(source.files)})"
        for source, files in parts
    )
    return f"{title}: {count} file{'s are' if count > 1 else ' is'} {way} from {origin}{size}: {listed}."
