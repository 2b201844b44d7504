"""YAML files of the project: records and registries."""

from pathlib import Path
from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where PyYAML was built with it


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file. Raises the errors of `yaml` and of opening files."""
    return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=LOADER)
