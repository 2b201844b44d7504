"""Resource classes: what a job of some kind needs on a laptop or a cluster, declared once in config/resources.yaml."""

from functools import cache
from typing import Any

import yaml

from fmri2img.errors import UserError
from fmri2img.paths import REPOSITORY


class ResourceClasses:
    """The classes of one size. size: laptop or cluster, the key `resources` of the configuration."""

    def __init__(self, size: str) -> None:
        self._classes = _sizes()[size]

    def threads(self, name: str) -> int:
        return self._classes[name]["threads"]

    def needs(self, name: str) -> dict[str, Any]:
        """Keyword arguments of a rule's `resources`. A class that `grows` gets its runtime again with every attempt."""
        found = {key: value for key, value in self._classes[name].items() if key not in ("threads", "grows")}
        if self._classes[name].get("grows"):
            runtime = found["runtime"]
            found["runtime"] = lambda wildcards, attempt: runtime * attempt
        return found


@cache
def _sizes() -> dict[str, dict[str, dict]]:
    path = REPOSITORY / "config" / "resources.yaml"
    sizes = yaml.safe_load(path.read_text(encoding="utf-8"))
    classes = {name: set(found) for name, found in sizes.items()}
    for name, found in classes.items():
        if found != classes["laptop"]:
            raise UserError(f"{path}: {name} and laptop do not have the same classes; add what one lacks")
    return sizes
