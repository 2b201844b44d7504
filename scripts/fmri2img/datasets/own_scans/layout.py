"""Paths of a lab's files: patterns with {subject}, {session} and {run}, and the files that they match.

A placeholder stands for a label of letters, digits and hyphens (sub-01, S1, day2). Sessions and runs are numbered from
1 in the order of their labels, in which numbers count as such: run-2 comes before run-10.
"""

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fmri2img.datasets.own_files import visible

PLACEHOLDERS = ("subject", "session", "run")
LABEL = r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*"
TOKEN = re.compile(r"\{(\w*)\}|\*\*/|\*|[^{*]+|.")


class Found(NamedTuple):
    """A file that a pattern matches, with what stands for {session} and {run}, "" where the pattern has none."""

    session: str
    run: str
    path: Path


def check_pattern(pattern: str) -> str:
    """The pattern. Raises ValueError when it is not one."""
    for token in TOKEN.finditer(pattern):
        name = token[1]
        if token[0] in "{}" or (name is not None and name not in PLACEHOLDERS):
            raise ValueError(f"'{pattern}': {token[0]} is not one of {{{'}, {'.join(PLACEHOLDERS)}}}; correct it")
    if pattern.startswith("/") or ".." in PurePosixPath(pattern).parts:
        raise ValueError(f"'{pattern}' leads out of the root; write the path below it")
    return pattern


def find(root: Path, pattern: str, subject: str) -> list[Found]:
    """A subject's files of a pattern, in the order of sessions and runs."""
    own = pattern.replace("{subject}", subject)
    wanted, globbed = _expression(own), re.sub(r"\{\w+\}", "*", own)
    found = []
    for path in visible(root.glob(globbed)):
        match = wanted.fullmatch(path.relative_to(root).as_posix())
        if match:
            found.append(Found(*(match.groupdict().get(name) or "" for name in ("session", "run")), path))
    return sorted(found, key=lambda one: (natural(one.session), natural(one.run), one.path))


def one_file(root: Path, pattern: str, subject: str) -> Path:
    """The one file of a pattern without {session}: the first that is there, or the path where it would be."""
    found = find(root, pattern, subject)
    return found[0].path if found else root / pattern.replace("{subject}", subject)


def subjects(root: Path, pattern: str) -> list[str]:
    """What stands for {subject} in the files of a pattern, in the order of labels."""
    wanted = _expression(pattern)
    paths = visible(root.glob(re.sub(r"\{\w+\}", "*", pattern)))
    matches = (wanted.fullmatch(path.relative_to(root).as_posix()) for path in paths)
    return sorted({match["subject"] for match in matches if match and "{subject}" in pattern}, key=natural)


def nothing_found(root: Path, pattern: str, subject: str, key: str) -> str:
    """What a message says where no file fits a pattern."""
    where = root / pattern.replace("{subject}", subject)
    return f"{where}: no such file; put the files of {subject} there, or correct own_scans.{key}.files"


def _expression(pattern: str) -> re.Pattern:
    parts, seen = [], set()
    for token in TOKEN.finditer(pattern):
        if token[1]:
            parts.append(f"(?P={token[1]})" if token[1] in seen else f"(?P<{token[1]}>{LABEL})")
            seen.add(token[1])
        else:
            parts.append({"**/": r"(?:.*/)?", "*": r"[^/]*"}.get(token[0], re.escape(token[0])))
    return re.compile("".join(parts))


def natural(label: str) -> tuple:
    """A key that sorts labels with their numbers as numbers."""
    parts = re.split(r"(\d+)", label)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)
