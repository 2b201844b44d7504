"""The sentences that the code says to users, and what they name: commands, options, keys, files, rules."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fmri2img.paths import REPOSITORY, SCRIPTS

RAISED = {"UserError", "problem", "WrongKey", "ValueError", "WorkflowError"}
DESCRIBED = {"description", "help"}  # arguments that describe a key or an option
HOLE = "…"  # stands for what is filled in


@dataclass(frozen=True)
class Sentence:
    """A text in the code, with HOLE for each value that is filled in.

    where: file and line; raised: whether it is an error's.
    """

    where: str
    text: str
    raised: bool

    @property
    def ticked(self) -> list[str]:
        """What it has in backticks."""
        return re.findall(r"`([^`]+)`", self.text)

    @property
    def bare(self) -> str:
        """The text without what is in backticks."""
        return re.sub(r"`[^`]+`", "``", self.text)


@cache
def sentences() -> tuple[Sentence, ...]:
    """All sentences of scripts/ except docstrings, and descriptions of keys and options."""
    return tuple(sentence for path in sorted(SCRIPTS.rglob("*.py")) for sentence in _of_file(path))


def _of_file(path: Path) -> Iterator[Sentence]:
    tree, where = ast.parse(path.read_text(encoding="utf-8")), path.relative_to(REPOSITORY)
    skipped, raised = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):  # docstrings
            skipped |= set(map(id, ast.walk(node.value))) if isinstance(node.value, ast.Constant) else set()
        elif isinstance(node, ast.keyword) and node.arg in DESCRIBED:
            skipped |= set(map(id, ast.walk(node.value)))
        elif isinstance(node, ast.Call) and _name(node.func) in RAISED:
            raised |= set(map(id, ast.walk(node)))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in ast.walk(node) if part is not node}
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in skipped:
            text = _text(node)
            if re.search(r"\w \w", text):
                yield Sentence(f"{where}:{node.lineno}", text, id(node) in raised)


def _name(function: ast.expr) -> str:
    return getattr(function, "id", getattr(function, "attr", ""))


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else HOLE for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@cache
def keys_of_problems() -> tuple[tuple[str, str], ...]:
    """(where, dotted key with HOLE for what is filled in) of every `problem(key, ...)` whose key is written out."""
    found = []
    for path in sorted(SCRIPTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _name(node.func) == "problem" and len(node.args) == 2:
                key = _text(node.args[0])
                if key.strip(HOLE + "."):
                    found.append((f"{path.relative_to(REPOSITORY)}:{node.lineno}", key))
    return tuple(found)
