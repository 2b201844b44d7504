"""A dataset as the rest of the workflow sees it: the declarations of its folder's dataset.yaml.

A dataset is one folder. It holds dataset.yaml (`DatasetRecord`), dataset.smk (rules that make its artifacts) and
scripts; settings.py if it has settings of its own; and dataset.py (a class `Dataset` that inherits from the one below)
if its declarations depend on these settings. See docs/adding-a-dataset.md. This module is light to import, because
every reading of the workflow imports it.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import AfterValidator, Field

from fmri2img import plugins, user_files
from fmri2img.datasets.inventory import Source
from fmri2img.datasets.own_files import visible
from fmri2img.errors import UserError
from fmri2img.settings.base import Count, Name, Positive, Settings, Unique, matching, problem
from fmri2img.yaml_files import read_yaml

if TYPE_CHECKING:
    from fmri2img.settings.configuration import Configuration

PATH_NAME = matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "letters, digits, ., - and _")  # a part of paths and of wildcards
CORPUS = matching(r"[a-z][a-z0-9_]*", "lowercase letters, digits and _")
KIND = matching(r"[a-z]+", "one word of lowercase letters")
SEEN = "seen"  # kind of a test set whose images were shown, of the same kind as the training images
SIMULATED_LICENCE = {
    "name": "MIT License",
    "url": "https://spdx.org/licenses/MIT",
    "note": "Data, networks and results are simulated or trained here.",
}
HEADERS = "headers"  # not written as "module:function", by which scripts would depend on it
CLUSTER = "cluster"  # splits cluster0, cluster1, ... are made for every dataset, from embeddings


def _not_a_cluster(name: str) -> str:
    if name.removeprefix(CLUSTER).isdecimal():
        raise ValueError(f"'{name}' is the name of a split that holds out a semantic cluster; rename it")
    return name


class Licence(Settings):
    """The permitted use of the data and of everything derived from them."""

    name: Name = Field(description="Name of the licence or agreement.")
    url: Name = Field(description="Where to read it.")
    note: str = Field("", description="One sentence on what it means for results.")


class Terms(Settings):
    """An agreement that users sign before they get the data."""

    name: Name = Field(description="Name of the agreement.")
    url: Name = Field(description="Where to sign it.")


class DeclaredSplit(Settings):
    """A split that the dataset's rules make."""

    description: Name = Field(description="What is held out, as a clause for reports.")
    test_sets: Annotated[Unique[Annotated[str, *PATH_NAME]], Field(min_length=1)] = Field(
        description="Names of its test sets."
    )
    sessions: Positive | None = Field(None, description="Sessions after this one are not used; null uses all.")


class BroughtEmbeddings(Settings):
    """Vectors of the stimuli that the dataset brings: one for each image, from a network that is not run here."""

    title: Name = Field(description="The network, for reports.")
    width: Positive = Field(description="Numbers in a vector.")
    trained_on: Name = Field(description="The data that the network was trained on.")
    training_data: Unique[Annotated[str, *CORPUS]] = Field(
        ["unpublished"],
        description="The public collections of pictures among these data, as `training_data` of config/backbones.yaml.",
    )


class Sizes(Settings):
    """Rough sizes, used to estimate how much disk space a study needs."""

    images: Count = Field(description="Stimuli.")
    image_size: Count = Field(description="Side of a stimulus in pixels.")
    test_images: Count = Field(description="Test images of a subject.")
    session_trials: Positive = Field(description="Trials of a session.")
    voxels: Positive = Field(description="Voxels of a subject.")


class DatasetRecord(Settings):
    """The content of dataset.yaml."""

    title: Name = Field(description="Short name for reports, e.g. NSD.")
    description: Name = Field(description="What the dataset is, in a sentence.")
    reference: Name = Field(description="The publication to cite.")
    pool: bool = Field(
        False,
        description="Whether recordings are without pictures: a pool that networks are pretrained on (key `pools`).",
    )
    simulated: bool = Field(False, description="Whether responses are computed rather than measured.")
    licence: Licence = Field(description=Licence.__doc__)
    terms: Terms | None = Field(None, description=Terms.__doc__)
    subjects: dict[Annotated[str, *PATH_NAME], Positive] = Field(
        {},
        description="Subject -> number of recorded sessions, in the order of reports. They may be left out where the "
        "folder's dataset.py finds them.",
    )
    regions: Unique[Name] = Field([], description="Boolean columns of the recordings' voxel table.")
    captions: bool = Field(description="Whether the stimuli have captions written by people.")
    pictures: bool = Field(True, description="Whether users hold the pictures, not only what is known of them.")
    embeddings: dict[Annotated[str, *PATH_NAME], BroughtEmbeddings] = Field(
        {}, description="Name -> vectors of the stimuli that dataset.smk writes into <results>/embeddings/<name>."
    )
    anatomy: Unique[Annotated[str, *matching("brain|mni", "brain or mni")]] = Field(
        [], description="What <results>/anatomy/{subject} holds: brain (a mask), mni (a map to the MNI152 template)."
    )
    id_aliases: Unique[Name] = Field([], description="Other names for image_id that submissions may use.")
    splits: dict[Annotated[str, *PATH_NAME, AfterValidator(_not_a_cluster)], DeclaredSplit] = Field(
        {},
        description="Splits that dataset.smk makes; a pool has none. They may be left out where the folder's "
        "dataset.py names them.",
    )
    test_set_kinds: dict[Annotated[str, *PATH_NAME], Annotated[str, *KIND]] = Field(
        {},
        description="Test set -> kind of test, one word; claims of config/claims.yaml name kinds. Those in use: `seen` "
        "(of all not listed: shown pictures like the training images), `cluster` (whole semantic clusters held out), "
        "`ood`, `synthetic`, `imagined`, `attended`.",
    )
    image_sources: dict[Name, Unique[Annotated[str, *CORPUS]]] = Field(
        {},
        description="Value of the Stimuli's column `source` -> public collections that hold its pictures, named as in "
        "`training_data` of config/backbones.yaml. Two or more sources: scores are also reported by source, with the "
        "networks that were trained on it.",
    )
    sizes: Sizes = Field(description=Sizes.__doc__)


class Dataset:
    """One dataset with the settings of a study.

    name: the folder's name; folder: its path; record: dataset.yaml as a dictionary with defaults filled in; settings:
    the dataset's own settings, or None; section: the same as plain dictionaries. A folder's own class overrides the
    checks and the properties that depend on settings.
    """

    def __init__(self, name: str, folder: Path, settings: Settings | None = None) -> None:
        """Raises UserError when dataset.yaml is missing or wrong."""
        self.name, self.folder, self.settings = name, folder, settings
        self.section: dict = {} if settings is None else settings.to_dict()
        file = folder / plugins.RECORDS["datasets"]
        try:
            content = read_yaml(file)
        except FileNotFoundError:
            raise UserError(f"{file}: no such file; write one as described in docs/adding-a-dataset.md") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{file}: not YAML ({' '.join(str(error).split())}); correct it") from None
        self.record: dict = DatasetRecord.read(content, str(file)).to_dict()
        own = {"subjects": type(self).sessions, "splits": type(self).splits}
        inherited = {"subjects": Dataset.sessions, "splits": Dataset.splits}
        for key in () if self.record["pool"] else own:
            if not self.record[key] and own[key] is inherited[key]:
                raise problem(key, "is empty; give at least 1", str(file))

    @property
    def title(self) -> str:
        return self.record["title"]

    @property
    def simulated(self) -> bool:
        """Whether responses are computed rather than measured."""
        return self.record["simulated"]

    @property
    def label(self) -> str:
        """Name of the data in reports."""
        return "simulated data" if self.simulated else self.title

    @property
    def sessions(self) -> dict[str, int]:
        """Subject -> number of recorded sessions, in the dataset's order."""
        return self.record["subjects"]

    @property
    def further_subjects(self) -> str:
        """How users name subjects of their own, for the end of a message."""
        return ""

    @property
    def splits(self) -> dict[str, dict]:
        """Name -> {description, test_sets, sessions} of each declared split, as `DeclaredSplit`."""
        return self.record["splits"]

    def test_sets(self, split: str) -> list[str]:
        """Names of a split's test sets. A split that holds out a semantic cluster has one, named after the split."""
        return self.splits[split]["test_sets"] if split in self.splits else [split]

    def kind_of(self, test_set: str) -> str:
        """The kind of a test set: what the dataset declares, else `cluster` for a held-out cluster, else SEEN."""
        cluster = test_set.removeprefix(CLUSTER).isdecimal() and test_set not in self.splits
        kind: str = self.record["test_set_kinds"].get(test_set, CLUSTER if cluster else SEEN)
        return kind

    @property
    def image_sources(self) -> dict[str, list[str]]:
        """Where the pictures come from: value of the Stimuli's column `source` -> names of public collections."""
        return self.record["image_sources"]

    def is_one_split(self, split: str) -> bool:
        """Whether a split tests all subjects on the same images; else what is trained on several sees some of them."""
        return True

    def used_sessions(self, split: str) -> dict[str, int]:
        """Subject -> number of sessions that a split uses."""
        last = self.splits[split]["sessions"] if split in self.splits else None
        return {subject: min(number, last or number) for subject, number in self.sessions.items()}

    @property
    def has_recordings(self) -> bool:
        """Whether there are responses; a dataset of images alone can only score submissions."""
        return True

    @property
    def has_captions(self) -> bool:
        """Whether the stimuli have captions written by people."""
        return self.record["captions"]

    @property
    def has_pictures(self) -> bool:
        """Whether the user holds the pictures, not only their names, captions and brought embeddings."""
        return self.record["pictures"]

    @property
    def pictures_remedy(self) -> str:
        """How users get the pictures, for the end of a message."""
        return ""

    @property
    def embeddings(self) -> dict[str, dict]:
        """Name -> title, width and trained_on of vectors of the stimuli that the dataset brings."""
        return self.record["embeddings"]

    @property
    def regions(self) -> list[str]:
        """Boolean columns of the recordings' voxel table."""
        return self.record["regions"]

    @property
    def anatomy(self) -> list[str]:
        """Contents of <results>/anatomy/{subject}: `brain`, `mni`, both or neither."""
        return self.record["anatomy"]

    @property
    def licence(self) -> dict:
        """Licence of a study's results on the data: name, url, note."""
        return self.record["licence"]

    def check(self, study: Any) -> None:
        """Check the dataset's own requirements on a study. Raises UserError."""
        if self.settings is not None:
            self.settings.check(study)

    def inventory(self, study: Any) -> list[Source]:
        """What the study reads from outside, whether or not it is there; a missing file raises nothing."""
        return []

    def found(self, paths: Iterable[str | Path]) -> str | None:
        """Hash of these files' sizes and times where they are the user's own, None where a rule makes them.

        It is a parameter of the rules that read them: see fmri2img.user_files.
        """
        made = self.simulated or getattr(self, "downloads", False)
        return None if made else user_files.found(paths)

    def check_files(self, study: Any) -> None:
        """Raise UserError when headers of the user's own files do not fit together. Dry runs do not call it.

        A folder's module headers.py says so (`check_files(dataset, study)`). It may import what reads files; this
        module may not, because every script of every environment imports it.
        """
        if (self.folder / f"{HEADERS}.py").is_file():
            plugins.load("datasets", self.name, f"{HEADERS}:check_files")(self, study)

    def check_terms(self) -> None:
        """Raise UserError when the user has not accepted the dataset's terms. Dry runs do not call it."""

    def sizes(self, study: Any) -> Sizes:
        """Sizes for the estimate of the disk space that a study needs."""
        return Sizes.read(self.record["sizes"])

    def bytes_of(self, study: Any) -> dict[Path, int]:
        """Folder -> bytes that the dataset's rules write into it: recordings (float32) and stimuli."""
        sizes = self.sizes(study)
        total = sizes.images * 3 * sizes.image_size**2 if self.has_pictures else 0
        if self.has_recordings:
            sessions = sum(study.available_sessions[subject] for subject in study.recorded)
            total += 4 * sessions * sizes.session_trials * sizes.voxels
        return {Path("results", study.name): total}


class FolderDataset(Dataset):
    """A dataset whose settings have `root`, the folder of its files, and `source`, which may be `simulated`."""

    @property
    def root(self) -> Path:
        return Path(self.settings.root)

    @property
    def simulated(self) -> bool:
        return bool(self.settings.source == "simulated")

    @property
    def licence(self) -> dict:
        return SIMULATED_LICENCE if self.simulated else super().licence


def check_folder(key: str, folder: Path, holds: Callable[[Path], bool], remedy: str) -> None:
    """Raise UserError when the folder that the key `key` names is not there, or another one near it was meant.

    holds: whether a folder holds files of the dataset. What is wrong with a folder that holds none, where no other one
    does either, is for the caller to say. remedy: what else to do about a folder that is not there.
    """
    if holds(folder):
        return
    wrong = f"{folder} holds none of the dataset's files" if folder.is_dir() else f"there is no folder {folder}"
    meant = next((near for near in _nearby(folder) if holds(near)), None)
    if meant is not None:
        raise problem(key, f"{wrong}; did you mean {meant}?")
    if not folder.is_dir():
        raise problem(key, f"{wrong}; {remedy}")


def _nearby(folder: Path) -> Iterator[Path]:
    """Folders that may have been meant: of a similar name, one of the three above, or one of those below."""
    folder = folder.absolute()
    if not folder.exists() and folder.parent.is_dir():
        siblings = {path.name: path for path in visible(folder.parent.iterdir())}
        yield from (siblings[name] for name in difflib.get_close_matches(folder.name, siblings))
    yield from folder.parents[:3]
    if folder.is_dir():
        yield from (path for path in visible(folder.iterdir()) if path.is_dir())


def open_dataset(settings: "Configuration") -> Dataset:
    """The dataset of a configuration. Raises UserError when its dataset.yaml is wrong, or it has no pictures."""
    found = _opened(settings, settings.dataset)
    if found.record["pool"]:
        raise problem("dataset", f"{found.name} has no pictures; name it under pools, and another dataset here")
    return found


def open_pools(settings: "Configuration") -> dict[str, Dataset]:
    """Name -> dataset of each pool of a configuration. Raises UserError for a dataset that has pictures."""
    found = {name: _opened(settings, name) for name in settings.pools}
    for name, pool in found.items():
        if not pool.record["pool"]:
            raise problem("pools", f"{name} is a dataset with pictures; name it under dataset, or leave it out")
    return found


def _opened(settings: "Configuration", name: str) -> Dataset:
    folder = plugins.folders("datasets")[name]
    own = (folder / "dataset.py").is_file()
    kind = plugins.load("datasets", name, "dataset:Dataset") if own else Dataset
    return kind(name, folder, settings.section(name) if (folder / "settings.py").is_file() else None)
