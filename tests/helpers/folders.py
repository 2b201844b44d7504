"""Folders of methods outside the repository, made by tests."""

from pathlib import Path

import yaml

METHOD = {
    "title": "Planted",
    "kind": "decoder",
    "origin": "port",
    "sentence": "Made by a test.",
    "reference": "None.",
    "drawing": "unclip",
    "outputs": ["images", "retrieval"],
    "varies_with": ["subject", "sessions", "seed"],
}


def method_folder(path: Path, code: dict[str, str] | None = None, without: tuple[str, ...] = (), **keys) -> Path:
    """Write a method's folder. keys: of its method.yaml, on top of METHOD; code: name of a module -> its text."""
    path.mkdir(parents=True, exist_ok=True)
    record = {key: value for key, value in (METHOD | keys).items() if key not in without}
    (path / "method.yaml").write_text(yaml.safe_dump(record, sort_keys=False), encoding="utf-8")
    for name, text in (code or {}).items():
        (path / f"{name}.py").write_text(text, encoding="utf-8")
    return path
