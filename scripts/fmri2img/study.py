"""A study: one configuration, checked before anything runs, and what follows from it.

Every problem is one line that names the configuration key and the remedy.
"""

import hashlib
import json
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

from fmri2img import plugins
from fmri2img.artifacts.budgets import Budget, sessions_of
from fmri2img.artifacts.cells import Cell
from fmri2img.backbones.registry import brought
from fmri2img.datasets.dataset import Dataset, open_dataset, open_pools
from fmri2img.methods.pictures import check_drawn, check_pictures
from fmri2img.methods.plan import MethodQueries, fixing_control
from fmri2img.methods.registry import read_analyses, read_methods
from fmri2img.metrics.registry import is_scored, read_metrics
from fmri2img.paths import REPOSITORY
from fmri2img.schemas import check_schema, without_prose
from fmri2img.settings import checks
from fmri2img.settings.base import nearest, problem, shown
from fmri2img.settings.configuration import read_configuration
from fmri2img.submissions.record import SubmittedPrediction, predictions_of, read_record
from fmri2img.yaml_files import read_yaml

MISSING = {  # registry -> what a name is that has no entry
    "methods": "not a method",
    "metrics": "not in config/metrics.yaml",
    "analyses": "not an analysis that a method's folder declares",
    "backbones": "not in config/backbones.yaml",
}


class Study(MethodQueries):
    """A checked configuration with its registries.

    settings: the typed configuration; config: the same as plain dictionaries, defaults filled in; methods: those it
    lists, then its submissions; registries: methods and analyses (of the methods' folders), metrics and backbones (of
    config/*.yaml), name -> entry, submissions being methods of kind `submission`; submissions: name -> its predictions
    of the study's subjects and budgets; dataset: the dataset with its settings; pools: name -> dataset without
    pictures. Raises UserError when anything is wrong that can be known before the first job.
    """

    def __init__(self, config: dict, check_files: bool = True) -> None:
        """check_files: whether datasets check their files, which need not be there yet where they are only listed."""
        self.settings = read_configuration(config)
        self.config = self.settings.to_dict()
        self.name: str = self.settings.study
        self.dataset = open_dataset(self.settings)
        self.pools = open_pools(self.settings)
        self.subjects: list[str] = self.settings.subjects
        self.methods: list[str] = [*self.settings.methods, *self.settings.submissions]
        self.seeds: list[int] = self.settings.seeds
        self.registries = {
            "methods": read_methods(),
            "metrics": read_metrics(REPOSITORY / "config" / "metrics.yaml"),
            "backbones": _backbones(self.dataset),
            "analyses": read_analyses(),
        }
        for method in self.settings.retrieval_only:
            self.named("methods", method, "retrieval_only")["outputs"] = ["retrieval"]
            for entry in self.registries["methods"].values():
                if entry.get("of") == method and entry.get("inherits"):
                    entry["outputs"] = ["retrieval"]
        checks.check_data(self)
        self.submissions = {
            name: self._read_submission(name, entry) for name, entry in self.settings.submissions.items()
        }
        checks.check_registered(self)
        check_drawn(self)
        check_pictures(self)
        self._check_scored()
        for dataset in (self.dataset, *self.pools.values()) if check_files else ():
            dataset.check(self)
        for section in self.settings.methods_sections.values():
            section.check(self)

    @cached_property
    def available_sessions(self) -> dict[str, int]:
        """Number of sessions of each subject of the dataset that the split has a use for."""
        return self.dataset.used_sessions(self.settings.split)

    def used_sessions(self, subject: str) -> list[int]:
        """Numbers (1-based) of these sessions."""
        return list(range(1, self.available_sessions[subject] + 1))

    @property
    def training_budgets(self) -> list[Budget]:
        """The budgets of the study's subjects, in the order of the configuration."""
        available = {subject: self.available_sessions[subject] for subject in self.subjects}
        return [Budget.of(value, available) for value in self.settings.sessions]

    def budgets(self, subject: str) -> list[int | float]:
        """Training budgets of a subject in sessions, ascending."""
        return sorted({sessions_of(value, self.available_sessions[subject]) for value in self.settings.sessions})

    def budgets_of(self, method: str, subject: str) -> list[int | float]:
        """Training budgets of a method and subject in sessions, ascending: the study's, or fewer (key `budgets`)."""
        values = self.chosen_budgets(method)
        return sorted({sessions_of(value, self.available_sessions[subject]) for value in values})

    def chosen_budgets(self, method: str) -> list[int | str]:
        """Entries of `sessions` at which a method runs: its own, or those of the method that it is made from."""
        chosen = self.settings.budgets
        while method not in chosen:
            method = self.registries["methods"][method].get("of")
            if method is None:
                return self.settings.sessions
        return [value for value in self.settings.sessions if value in chosen[method]]

    @property
    def test_sets(self) -> list[str]:
        """Test sets that are scored, in the split's order."""
        chosen, known = self.settings.test_sets, self.dataset.test_sets(self.settings.split)
        return known if chosen == "all" else [name for name in known if name in chosen]

    @property
    def other_splits(self) -> list[str]:
        """Declared splits of the dataset that the study could use in place of its own."""
        return [name for name in self.dataset.splits if name != self.settings.split]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the configuration, of the registries and of the datasets' records, on which everything in a report
        depends.

        Where and on what jobs run is left out.
        """
        config = {key: value for key, value in self.config.items() if key not in ("resources", "site")}
        records = [dataset.record for dataset in (self.dataset, *self.pools.values())]
        content = json.dumps([config, self.registries, records], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def metrics(self) -> dict[str, dict]:
        """Registry entries of the study's metrics."""
        return {name: self.registries["metrics"][name] for name in self.config["metrics"]}

    @property
    def analyses(self) -> dict[str, dict]:
        """Name -> entry of the analyses that the study makes."""
        declared, chosen = self.registries["analyses"], self.config["analyses"]
        if chosen == "all":
            folders = {self.registries["methods"][method].get("folder") for method in self.methods}
            chosen = [name for name, entry in declared.items() if entry["folder"] in folders]
        return {name: declared[name] for name in chosen}

    @cached_property
    def records(self) -> dict[str, dict[str, dict]]:
        """Registry -> name -> entry of networks and of the study's metrics, as parameters of rules: without prose."""
        return {
            "backbones": without_prose(self.registries["backbones"], "backbones"),
            "metrics": without_prose(self.metrics, "metrics"),
        }

    def reads(self, needs: str) -> bool:
        """Whether a metric of the study reads images, retrieval, captions or brain."""
        return any(metric["needs"] == needs for metric in self.metrics.values())

    @property
    def scored_tokens(self) -> tuple[int, int] | None:
        """Number and width of the tokens with which retrieval vectors are compared; None if no retrieval is scored."""
        encoder = self.registries["backbones"][self.config["encoder"]]
        return (encoder["tokens"], encoder["token_width"]) if self.reads("retrieval") else None

    @property
    def on_brain(self) -> bool:
        return self.reads("brain")

    @property
    def has_brain_maps(self) -> bool:
        """Whether brain correlation is measured and the dataset says where its voxels lie."""
        return self.on_brain and "brain" in self.dataset.anatomy

    @property
    def reads_captioner(self) -> bool:
        """Whether captions are compared with what the captioner says of the true images."""
        return any(m.get("parameters", {}).get("references") == "captioner" for m in self.metrics.values())

    @property
    def compared_layers(self) -> dict[str, list[str]]:
        """Network -> layers of it whose features a metric compares."""
        layers: dict[str, set[str]] = {}
        for metric in self.metrics.values():
            if metric["layer"]:
                layers.setdefault(metric["network"], set()).add(metric["layer"])
        return {name: sorted(found) for name, found in layers.items()}

    @property
    def encoding_networks(self) -> list[str]:
        """Networks whose features the encoding model is fitted to; an imported one takes pictures itself."""
        encoding = self.config["encoding"]
        fitted = encoding["model"] == "banded_ridge"
        return sorted({band["network"] for band in encoding["bands"]}) if fitted else []

    @property
    def scoring_networks(self) -> list[str]:
        """Networks that scoring loads."""
        networks = {metric["network"] for metric in self.metrics.values() if metric["network"]}
        return sorted(networks.union(self.encoding_networks if self.on_brain else []))

    @property
    def caption_encoder(self) -> str:
        """The network whose tokens the captioner takes."""
        captioner = self.config["captioner"]
        return self.registries["backbones"][captioner].get("features", captioner)

    @property
    def registered_converter(self) -> str | None:
        """The published map from the encoder's tokens to the captioner's, where the study names one."""
        converter = self.config["caption_converter"]
        return None if converter == "trained" else converter

    @property
    def bottlenecked(self) -> list[str]:
        """Methods that the study draws and has a curve of: their score against dimensions of the brain."""
        drawn = [name for name in self.methods if name not in self.config["retrieval_only"]]
        return [name for name in self.config["bottleneck"]["methods"] if name in drawn]

    @property
    def bottleneck_floors(self) -> list[str]:
        """Controls from whose scores the curves of these methods are measured."""
        listed = {name: entry for name, entry in self.registries["methods"].items() if name in self.methods}
        needed = [(method, needs) for method in self.bottlenecked for needs in ("images", "retrieval")]
        floors = dict.fromkeys(fixing_control(listed, method, "floor", needs) for method, needs in needed)
        return [name for name in floors if name]

    def predictions(self) -> list[dict]:
        """Wildcards (method, subject, sessions, seed) of every prediction of the study."""
        return [{"method": method} | cell._asdict() for method in self.methods for cell in self.cells(method)]

    def methods_compared(self) -> list[str]:
        """Methods that also have scores in the finished study that this one is compared with."""
        other = Path("results", self.config["compare_with"])
        if not (other / "config.yaml").is_file():
            return []
        return [method for method in self.methods if (other / "scores" / f"{method}.parquet").is_file()]

    def seeds_of(self, method: str) -> list[int]:
        """Seeds of a method: the study's, or those a submission brings."""
        if method in self.submissions:
            return sorted({prediction.seed for prediction in self.submissions[method]})
        return self.seeds

    def submitted(self, method: str, cell: Cell) -> SubmittedPrediction:
        """The submission's prediction of a cell."""
        return next(p for p in self.submissions[method] if (p.subject, p.sessions, p.seed, p.test_set) == cell)

    def _check_scored(self) -> None:
        """Every method makes what some metric of the study reads: it would be run and then have no score."""
        entries = {method: self.registries["methods"][method] for method in self.methods}
        scored = self.metrics.values()
        unread = [m for m, entry in entries.items() if not any(is_scored(entry, metric) for metric in scored)]
        if unread:
            first, outputs = unread[0], " and ".join(entries[unread[0]]["outputs"])
            reading = [name for name, metric in self.registries["metrics"].items() if is_scored(entries[first], metric)]
            others = f", nor what {', '.join(unread[1:])} make" if unread[1:] else ""
            what = f"no metric of the study reads {outputs}, which is all that {first} makes{others}"
            key = f"submissions.{first}" if first in self.submissions else "methods"
            raise problem(key, f"{what}; add one to metrics, such as {reading[0]}, or remove {', '.join(unread)}")

    def _read_submission(self, name: str, entry: dict) -> list[SubmittedPrediction]:
        """Check a submission's record, register it as a method, and keep what belongs to the study's cells."""
        key = f"submissions.{name}"
        if name in self.registries["methods"]:
            raise problem(key, "is the name of a method; give the submission another one")
        record, folder = entry, Path()
        if "path" in entry:
            record, folder = read_record(entry["path"])
            record = record | {part: value for part, value in entry.items() if part != "path"}
        check_schema(record, "submission", f"submission {name}")
        stands_for = record.get("stands_for")
        if stands_for is not None:
            self.named("methods", stands_for, f"{key}.stands_for")
        fetched = {entry: Path("models") / entry for entry in self.registries["backbones"]}
        submitted = [
            replace(
                p,
                sessions=sessions_of(p.sessions, self.available_sessions[p.subject]),
                test_set=p.test_set or self.test_sets[0],
            )
            for p in predictions_of(name, record, folder, fetched)
            if p.subject in self.subjects
        ]
        kept = [p for p in submitted if p.sessions in self.budgets(p.subject) and p.test_set in self.test_sets]
        if not kept:
            brought = ", ".join(f"{p.subject} at {p.sessions}" for p in submitted) or "no subject of the study at any"
            what = f"brings {brought} sessions, none of which the study's subjects and sessions include"
            remedy = "add them, or write `sessions: all` for a method trained on all sessions that the split uses"
            raise problem(key, f"{what}; {remedy}")
        cells = [Cell(p.subject, p.sessions, p.seed, p.test_set) for p in kept]
        for cell in cells:
            if cells.count(cell) > 1:
                what = f"{cell.subject}, {cell.sessions} sessions, seed {cell.seed}"
                raise problem(key, f"two predictions of {what}; keep one")
        outputs = [part for part in ("images", "captions", "retrieval") if any(part in p.files for p in kept)]
        self.registries["methods"][name] = {
            "title": record["title"],
            "kind": "submission",
            "stands_for": stands_for,
            "module": "fmri2img.submissions.record",
            "configured_by": [f"submissions.{name}"],
            "outputs": outputs,
            "origin": "submission",
            "varies_with": ["subject", "sessions", "seed"],
            "sentence": "Reconstructions that were submitted.",
            "reference": record.get("reference", "Submitted; described by its record alone."),
        }
        return kept

    def network(self, name: str, key: str, *kinds: str, also: str | None = None) -> dict:
        """The entry of a frozen network that `key` names, which must be of one of these kinds.

        also: another value that is allowed. Raises UserError.
        """
        entry = self.named("backbones", name, key, also)
        if entry["kind"] not in kinds:
            registry = self.registries["backbones"]
            allowed = [*([also] if also else []), *(other for other in registry if registry[other]["kind"] in kinds)]
            raise problem(
                key, f"{name} is of kind {entry['kind']}, which is not allowed here; use {' or '.join(allowed)}"
            )
        return entry

    def named(self, registry: str, name: str, key: str, also: str | None = None) -> dict:
        """The entry of a registry that `key` names; also: another value that is allowed. Raises UserError."""
        entries = self.registries[registry]
        if name not in entries:
            remedy = nearest(name, [*([also] if also else []), *entries], "available")
            raise problem(key, f"{shown(name)} is {MISSING[registry]}; {remedy}")
        return entries[name]


def _backbones(dataset: Dataset) -> dict[str, dict]:
    """The registered networks, and those whose outputs the dataset brings. Raises UserError for a name of both."""
    path = REPOSITORY / "config" / "backbones.yaml"
    registry = {name: dict(entry) for name, entry in _read_backbones(path, path.stat().st_mtime_ns).items()}
    for name in registry.keys() & dataset.embeddings.keys():
        where = str(dataset.folder / plugins.RECORDS["datasets"])
        raise problem(f"embeddings.{name}", "is the name of a network of config/backbones.yaml; rename it", where)
    return registry | brought(dataset.name, dataset.embeddings)


@cache
def _read_backbones(path: Path, changed: int) -> dict[str, dict]:
    """Read and checked once in a process, unless the file has `changed` since (its time in nanoseconds)."""
    registry = read_yaml(path)
    check_schema(registry, "backbones", "config/backbones.yaml")
    return registry
