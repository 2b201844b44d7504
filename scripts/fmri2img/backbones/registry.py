"""The registry of frozen pretrained networks: the source of each one's files, and checks that they are the right files.

An entry of config/backbones.yaml has one `source`:

    folder       files kept in this repository (the demo's tiny networks)
    package      files inside an installed Python package
    hub          files of a Hugging Face repository, fetched once into models/<entry>
    url          one file, fetched once into models/<entry>
    page         a web page from which a person puts the files into models/<entry>

The registry of a study also has the networks whose outputs its dataset brings (`brought`).

The functions that build networks (encoders.py, autoencoders.py, generators.py, captioners.py, features.py) see only a
Backbone, so the demo's networks and the paper's networks use the same code.
"""

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from fmri2img.errors import UserError
from fmri2img.integrity import sha256
from fmri2img.paths import REPOSITORY

MODELS = Path("models")  # fetched files, below the working directory
BROUGHT = "embeddings"  # kind of the networks whose outputs a dataset brings: they are not run, and have no files
ACQUIRED = "acquired.json"  # next to the files: their source, written when they were fetched


@dataclass(frozen=True)
class Backbone:
    """One entry of the registry. `record` is the entry as written; workflow/schemas/backbones.schema.yaml checks it."""

    name: str
    record: dict

    @property
    def kind(self) -> str:
        return str(self.record["kind"])

    @property
    def trained_on(self) -> str:
        """The data that the network was trained on, as disclosure records name them."""
        return str(self.record["trained_on"])

    @property
    def identity(self) -> dict[str, str]:
        """What an artifact's metadata say of the network: its name, revision and training data."""
        return {"encoder": self.name, "revision": self.revision, "trained_on": self.trained_on}

    @property
    def fetched(self) -> bool:
        """Whether the files must first be fetched, by acquire_backbone or by a person."""
        return bool({"hub", "url", "page"} & self.record["source"].keys())

    @property
    def folder(self) -> Path:
        """Directory that holds (or will hold) the files. Raises UserError when a package is not installed."""
        source = self.record["source"]
        if "folder" in source:
            folder: Path = REPOSITORY / source["folder"]
            return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        if "package" in source:
            module = source["package"]
            spec = importlib.util.find_spec(module)
            if spec is None or not spec.submodule_search_locations:
                raise UserError(
                    f"backbone {self.name}: Python package {module} is not installed; install envs/requirements.lock"
                )
            return Path(spec.submodule_search_locations[0])
        return MODELS / str(self.record.get("shares", self.name))

    def inputs(self) -> list[str]:
        """Inputs of a rule that loads this backbone: its files, or the directory that is fetched."""
        if self.fetched:
            return [self.folder.as_posix()]
        if "folder" in self.record["source"]:
            return [(self.folder / name).as_posix() for name in self.record["files"]]
        return []

    @property
    def acquired(self) -> dict:
        """The record written when the files were fetched: source, commit (of a hub), files (name -> size, sha256).

        It is empty for files that were put there by hand. Raises UserError when the record cannot be read.
        """
        path = self.folder / ACQUIRED
        if not self.fetched or not path.is_file():
            return {}
        try:
            found: dict = json.loads(path.read_text(encoding="utf-8"))
            return found
        except ValueError as error:
            raise UserError(f"backbone {self.name}: {path}: cannot be read ({error}); {self._remedy()}") from error

    @property
    def revision(self) -> str:
        """Identifier of the weights: the pinned commit, else a registered checksum, else a checksum of the files if
        they are small (the demo's), else the one recorded when they were fetched, else 'unpinned'."""
        sums = [check["sha256"] for check in self.record["files"].values() if check and check.get("sha256")]
        if self.record["source"].get("revision"):
            return str(self.record["source"]["revision"])
        if sums:
            return f"sha256:{sums[0][:12]}"
        if "folder" in self.record["source"]:
            digest = hashlib.sha256()
            for name in self.record["files"]:
                digest.update(self.file(name).read_bytes())
            return f"sha256:{digest.hexdigest()[:12]}"
        recorded = self.acquired
        if recorded:
            first = next(iter(recorded["files"].values()))
            return recorded["commit"] or f"sha256:{first['sha256'][:12]}"
        return "unpinned"

    def file(self, name: str) -> Path:
        """Path of one file, after checking its presence, size and registered checksum. Raises UserError.

        The expected size is the registered one, else that of the file when it was fetched.
        """
        path = self.folder / name
        fetched = self.acquired.get("files", {}).get(name, {})
        check = {"size": fetched.get("size")} | (self.record["files"][name] or {})
        check_file(path, check, f"backbone {self.name}", self._remedy())
        return path

    def checked_folder(self) -> Path:
        """The directory of the files, after checking each of them. Raises UserError naming the first bad one."""
        for name in self.record["files"]:
            self.file(name)
        return self.folder

    def _remedy(self) -> str:
        if "page" in self.record["source"]:
            return f"put the file of {self.record['source']['page']} there"
        if self.fetched:
            return f"delete {self.folder} and run `snakemake {self.folder}` where the network is reachable"
        if "package" in self.record["source"]:
            return f"reinstall the package {self.record['source']['package']}"
        return f"restore it with `git checkout -- {self.record['source']['folder']}`"


def check_file(path: Path, check: dict, what: str, remedy: str) -> None:
    """Compare a file with the registered `size` (bytes) and `sha256` (hex digits; the leading ones suffice).

    Raises UserError naming `what`, the file and the remedy.
    """
    if not path.is_file():
        raise UserError(f"{what}: {path}: no such file; {remedy}")
    size = path.stat().st_size
    if check.get("size") is not None and size != check["size"]:
        raise UserError(f"{what}: {path}: has {size} bytes, expected {check['size']}; {remedy}")
    if check.get("sha256") is not None:
        found = sha256(path)
        if not found.startswith(check["sha256"]):
            raise UserError(f"{what}: {path}: sha256 is {found}, expected {check['sha256']}; {remedy}")


def load_registry(path: str | Path = REPOSITORY / "config" / "backbones.yaml") -> dict[str, Backbone]:
    """All entries of a registry file by name. Raises UserError when the file is missing."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; restore it from the repository")
    entries = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return {name: Backbone(name, record) for name, record in entries.items()}


def brought(dataset: str, embeddings: dict[str, dict]) -> dict[str, dict]:
    """Entries of the networks whose outputs a dataset brings: one vector for each image.

    embeddings: name -> title, width, trained_on and training_data, as dataset.yaml declares them.
    """
    return {
        name: {
            "kind": BROUGHT,
            "title": declared["title"],
            "source": {"dataset": dataset},
            "files": {},
            "tokens": 1,
            "token_width": declared["width"],
            "trained_on": declared["trained_on"],
            "training_data": declared["training_data"],
        }
        for name, declared in embeddings.items()
    }


def expect_kind(backbone: Backbone, *kinds: str) -> None:
    """Check the kind of a network that a configuration key names. Raises UserError when it is the wrong one."""
    if backbone.kind not in kinds:
        raise UserError(
            f"backbone {backbone.name}: is of kind {backbone.kind}, but one of {', '.join(kinds)} is needed here; "
            "choose another entry of config/backbones.yaml"
        )
