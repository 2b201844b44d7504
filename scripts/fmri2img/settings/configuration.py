"""The whole configuration: general settings, those of the chosen dataset, and those of every method that has some."""

from functools import cache
from typing import Any

from pydantic import Field, create_model

from fmri2img import plugins
from fmri2img.settings.base import Settings, nearest, problem
from fmri2img.settings.general import Basis, General


class Configuration(General):
    """General settings, and below them a section for the dataset and for each method with settings."""

    def section(self, name: str) -> Settings:
        """The settings of a dataset or method."""
        section: Settings = getattr(self, name)
        return section

    @property
    def methods_sections(self) -> dict[str, Settings]:
        """The settings of the methods, by the name of their folder."""
        datasets = {self.dataset, *self.pools}
        own = [name for name in type(self).model_fields if name not in General.model_fields and name not in datasets]
        return {name: self.section(name) for name in own}


def read_configuration(config: dict[str, Any]) -> Configuration:
    """Check a configuration as Snakemake merged it, and fill in defaults; registers its plug-ins.

    Sections of datasets that the study does not use are left out. Raises UserError naming the first wrong key.
    """
    datasets = plugins.folders("datasets")
    if "dataset" not in config:
        configuration_of(*datasets).read(config)  # names the missing or misspelt key
    basis = Basis.read({key: value for key, value in config.items() if key in Basis.known_keys()})
    for folder in basis.plugins:
        plugins.register(folder)
    datasets = plugins.folders("datasets")
    named = {"dataset": [basis.dataset], "pools": basis.pools}
    for key, names in named.items():
        for name in names:
            if name not in datasets:
                raise problem(key, f"there is no dataset '{name}'; {nearest(name, datasets, 'available')}")
    chosen = list(dict.fromkeys([basis.dataset, *basis.pools]))
    used = {key: value for key, value in config.items() if key in chosen or key not in datasets}
    return configuration_of(*chosen).read(used)


def configuration_of(*datasets: str) -> type[Configuration]:
    """The class of a whole configuration with these datasets, and with all methods that are known by now."""
    methods = [name for name, folder in plugins.folders("methods").items() if (folder / "settings.py").is_file()]
    return _configuration(*(("datasets", name) for name in datasets), *(("methods", name) for name in methods))


@cache
def _configuration(*folders: tuple[str, str]) -> type[Configuration]:
    sections: dict[str, Any] = {}
    for kind, name in folders:
        if name in General.known_keys() or name in sections:
            raise problem("plugins", f"the {kind[:-1]} '{name}' has the name of another section; rename its folder")
        if (plugins.folders(kind)[name] / "settings.py").is_file():
            section = plugins.load(kind, name, "settings:Settings")
            required = any(field.is_required() for field in section.model_fields.values())
            field = Field(description=section.__doc__) if required else Field(section(), description=section.__doc__)
            sections[name] = (section, field)
    return create_model("Configuration", __base__=Configuration, __doc__=Configuration.__doc__, **sections)
