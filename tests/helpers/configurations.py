"""Configurations of the repository, as Snakemake makes them from files, and with single keys replaced."""

import copy
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text(encoding="utf-8"))


def merged(*names: str) -> dict:
    """Files of config/ applied in turn on top of the default, as Snakemake does with --configfile."""

    def update(base: dict, over: dict) -> dict:
        for key, value in over.items():
            base[key] = update(base[key], value) if isinstance(value, dict) and key in base else value
        return base

    config = copy.deepcopy(DEMO)
    for name in names:
        update(config, yaml.safe_load((REPOSITORY / "config" / name).read_text(encoding="utf-8")))
    return config


def changed(**keys) -> dict:
    """The demo's configuration with keys replaced; `betas__mask` stands for betas.mask."""
    config = copy.deepcopy(DEMO)
    for dotted, value in keys.items():
        *parents, last = dotted.split("__")
        section = config
        for parent in parents:
            section = section[parent]
        section[last] = value
    return config
