"""A study that a dataset proposes for a folder of files: `make dataset`.

The folder of a dataset that can do so has a module describe.py with a function `describe(folder, given)`. `given` is
what the user stated of the dataset's section, as a dictionary.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Described:
    """What was found in a folder.

    facts: what is there, a line each; notes: what is worth knowing; problems: what must be mended first, each with its
    remedy; section: the dataset's section of the study; study: its other keys. The last two are complete when there is
    no problem.
    """

    facts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    section: dict[str, Any] = field(default_factory=dict)
    study: dict[str, Any] = field(default_factory=dict)
