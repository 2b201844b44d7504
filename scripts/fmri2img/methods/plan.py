"""Queries of the rules about a study's methods: the decoders that are needed, their inputs, and their cells.

A part of `fmri2img.study.Study`, kept apart because it knows the entries of method folders (methods/registry.py) and
nothing of the rest of a configuration.
"""

import typing
from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple

from fmri2img import plugins
from fmri2img.artifacts import axes
from fmri2img.artifacts.cells import ALL, Cell
from fmri2img.backbones.targets import TARGETS, groupings, target_path
from fmri2img.errors import UserError
from fmri2img.generation.pipelines import DrawingRecord, pipelines
from fmri2img.methods.registry import Calibration, Trials
from fmri2img.settings.base import nearest, problem


class Pretraining(NamedTuple):
    """A training on several subjects, from which every fine-tuning on a subject outside its pool may start.

    decoder: the first decoder that starts from it; subjects: the pool, in the dataset's order; pool: the pool's name.
    """

    decoder: str
    pool: str
    subjects: list[str]

    @property
    def path(self) -> str:
        """Its folder below the trained networks."""
        return f"{self.decoder}/{self.pool}"


def pool_name(pool: list[str], available: list[str]) -> str:
    """Short name of a pool of the dataset's subjects: `subj03+subj04`, or `without_subj01` where that lists fewer.

    Subjects of datasets without pictures (hcp/100307) all count as one, `hcp`.
    """
    own = [subject for subject in pool if subject in available]
    left_out = [subject for subject in available if subject not in own]
    parts = ["without_" + "+".join(left_out)] if 0 < len(left_out) < len(own) else own
    return "+".join([*parts, *dict.fromkeys(subject.partition("/")[0] for subject in pool if subject not in own)])


class MethodQueries:
    """Queries over `self.registries["methods"]`, `self.methods`, `self.config`, subjects, budgets and seeds."""

    @cached_property
    def decoders(self) -> dict[str, dict]:
        """Name -> entry of everything that makes a Decoded: decoders with their variants, and controls drawn like one.

        The entry is that of the decoder's first method.
        """
        found: dict[str, dict] = {}
        for entry in self.registries["methods"].values():
            if "decoder" in entry and entry["kind"] != "stage":
                found.setdefault(entry["decoder"], entry)
        return found

    def decoders_with(self, *keys: str) -> list[str]:
        """Decoders that are fitted in one of these ways: linear, training, released."""
        return [name for name, entry in self.decoders.items() if any(key in entry for key in keys)]

    def decoders_of(self, folder: str, *keys: str) -> list[str]:
        """Those of one folder."""
        return [name for name in self.decoders_with(*keys) if self.decoders[name]["folder"] == folder]

    def released_decoders(self, folder: str) -> list[str]:
        """Decoders of a folder whose networks are published ones, which the folder's own rule imports."""
        return [name for name in self.decoders_with("released") if self.decoders[name]["folder"] == folder]

    def section(self, decoder: str) -> dict:
        """The configuration's section of a decoder's folder."""
        return self.config.get(self.decoders[decoder]["folder"], {})

    def value_at(self, key: str, folder: str):
        """The value of a dotted key of the configuration, which the method.yaml of a folder names.

        None below a section that is null, which the method's own check has to accept or report. Raises UserError where
        there is no such key.
        """
        value = self.config
        for part in key.split("."):
            if value is None:
                return None
            if not isinstance(value, dict) or part not in value:
                known = value if isinstance(value, dict) else []
                where = plugins.folders("methods")[folder] / "method.yaml"
                raise UserError(f"{where}: '{key}' is not a key of the configuration; {nearest(part, known)}")
            value = value[part]
        return value

    def regressions(self, decoder: str) -> list[dict]:
        """The regressions of a linear decoder, with the values of the keys that its method.yaml names.

        Raises UserError for a key that does not exist, and for values that do not fit: a network that does not give the
        target, a region that the dataset lacks.
        """
        if decoder not in self._regressions:
            folder = self.decoders[decoder]["folder"]
            found = [self._regression(regression, folder) for regression in self.decoders[decoder]["linear"]]
            self._regressions[decoder] = found
        return self._regressions[decoder]

    @cached_property
    def _regressions(self) -> dict[str, list[dict]]:
        return {}

    def _regression(self, record: dict, folder: str) -> dict:
        kind, network, size = self._target(record["target"], folder)
        penalty = record["penalty"]
        rule = "choose_from" if penalty["fixed"] is None else "fixed"
        alphas = self._setting(penalty[rule], f"penalty.{rule}", folder)
        folds = self._setting(penalty["folds"], "penalty.folds", folder)
        per = self._setting(penalty["per"], "penalty.per", folder, words=True)
        trials = self._setting(record["trials"], "trials", folder, words=True)
        calibration = self._setting(record["calibration"], "calibration", folder, words=True)
        regions = self._setting(record["regions"], "regions", folder, words=True)
        per.among(groupings(kind, self.registries["backbones"][network]["kind"]), f"{kind} of {network} have no groups")
        trials.among(typing.get_args(Trials), "there is no")
        calibration.among(typing.get_args(Calibration), "there is no")
        if regions.value != "all":
            regions.among(self.dataset.regions, f"dataset {self.dataset.name} has no region")
        return {
            "array": record["array"],
            "target": target_path(kind, network, size),
            "regions": regions.value,
            "trials": trials.value,
            "alphas": [alphas.value] if rule == "fixed" else alphas.value,
            "per": per.value,
            "standardised": self._setting(record["standardised"], "standardised", folder, words=True).value,
            "folds": folds.value,
            "folds_key": folds.key,
            "penalties_key": alphas.key,
            "calibration": calibration.value,
        }

    def _target(self, record: dict, folder: str) -> tuple[str, str, int | None]:
        """Kind, network and size of a target. Raises UserError where the network does not give it."""
        kind = next(kind for kind in TARGETS if record[kind] is not None)
        network = self._setting(record[kind], kind, folder)
        self.network(network.value, network.key, *TARGETS[kind])
        if kind == "tokens":
            self.check_embedded(network.key, network.value)
        elif kind == "latents" and not self.dataset.has_pictures:
            raise self.without_pictures("methods", f"{folder} decodes latents of pictures")
        if kind == "texts" and not self.dataset.has_captions:
            what = f"{folder} decodes captions, which dataset {self.dataset.name} does not have"
            raise problem("methods", f"{what}; remove it")
        return kind, network.value, self._setting(record["size"], "size", folder).value

    def check_embedded(self, key: str, network: str) -> None:
        """Raise UserError where `key` names an encoder that would take pictures which the user does not hold."""
        brought = self.dataset.embeddings
        if not self.dataset.has_pictures and network not in brought:
            remedy = f"use what it brings ({', '.join(brought)})" if brought else "use another dataset"
            raise self.without_pictures(key, f"{network} takes pictures", remedy)

    def without_pictures(self, key: str, what: str, remedy: str = "remove it") -> UserError:
        """The error for a key that asks for something which needs the pictures. what: "pixcorr compares pictures"."""
        remedies = ", or ".join(filter(None, [remedy, self.dataset.pictures_remedy]))
        return problem(key, f"{what}, which you do not hold of dataset {self.dataset.name}; {remedies}")

    def _setting(self, value: Any, own_key: str, folder: str, words: bool = False) -> "_Setting":
        """A value of method.yaml, or of the key of the configuration that it names.

        words: whether a word without a dot is a value, not a key.
        """
        if isinstance(value, str) and ("." in value or not words):
            return _Setting(self.value_at(value, folder), value, "configuration")
        return _Setting(value, own_key, str(plugins.folders("methods")[folder] / "method.yaml"))

    def gives_directions(self, decoder: str) -> bool:
        """Whether a linear decoder decodes the encoder's tokens from all voxels, as they are, with one penalty."""
        wanted = {
            "array": "tokens",
            "target": target_path("tokens", self.config["encoder"]),
            "regions": "all",
            "per": axes.ALL,
            "standardised": False,
        }
        return any(wanted.items() <= regression.items() for regression in self.regressions(decoder))

    def target_values(self, decoder: str) -> dict[str, int]:
        """Target of a linear decoder -> values of one image, roughly."""
        entry, found = self.decoders[decoder], {}
        for regression in entry["linear"]:
            kind, network, size = self._target(regression["target"], entry["folder"])
            record = self.registries["backbones"][network]
            found[target_path(kind, network, size)] = TARGETS[kind][record["kind"]].values(record, size)
        return found

    def targets(self, decoder: str) -> dict[str, str]:
        """Name -> artifact below the results: the Embeddings that a decoder's outputs are estimates of.

        The target of a linear decoder has the name that its regression gives it. Those of a trained decoder come from
        `decoding_inputs(study)` in the workflow.py of its folder, if it has one; else they are the tokens of the
        study's encoder.
        """
        entry = self.decoders[decoder]
        if "linear" in entry:
            names = [regression["target"] for regression in self.regressions(decoder)]
        elif plugins.declares("methods", entry["folder"], "workflow:decoding_inputs"):
            return plugins.load("methods", entry["folder"], "workflow:decoding_inputs")(self)
        else:
            names = [target_path("tokens", self.config["encoder"])]
        return {name: f"<results>/{name}" for name in names}

    def decoded_targets(self, decoder: str) -> list[str]:
        """Artifacts that a decoder's outputs are estimates of, also where a function of its folder makes these."""
        made_by = self.decoders[decoder].get("made_by")
        if made_by is None:
            return list(self.targets(decoder))
        return [target_path("tokens", self.value_at(made_by["embeddings"], self.decoders[decoder]["folder"]))]

    def retrieval_network(self, method: str) -> str:
        """The network whose tokens of the true images a method's retrieval vectors are compared with."""
        entry = self.registries["methods"][method]
        return self.value_at(entry.get("retrieval_encoder", "encoder"), entry.get("folder", ""))

    def drawing(self, method: str) -> dict:
        """The drawing pipeline of a method, with its networks by name and its settings.

        function, arrays (pipeline's name -> decoded array), networks (role -> name), settings, samples (their number),
        inputs, takes, class. A method whose pictures the study leaves out keeps its retrieval vectors alone.
        """
        entry = self.registries["methods"][method]
        if method in self.config["retrieval_only"]:
            found = DrawingRecord(pipeline="retrieval").resolved("")
        else:
            found = entry["drawing"]
        section = self.value_at(found["settings"], entry["folder"]) if found["settings"] else {}
        networks = {role: self.value_at(network["key"], entry["folder"]) for role, network in found["networks"].items()}
        samples = self.value_at(found["samples"], entry["folder"]) if found["samples"] else 1
        return found | {"settings": section | found["with"], "networks": networks, "samples": samples}

    def drawn(self, *resources: str) -> list[str]:
        """Methods that are drawn by a pipeline of one of these resource classes."""
        entries = self.registries["methods"].items()
        return [name for name, entry in entries if "drawing" in entry and self._class_of(name) in resources]

    def cell_classes(self, decoder: str) -> list[str]:
        """Resource classes of the jobs that follow a decoder in each cell: decoding, captions, drawing, and functions
        of what these make."""
        entries = self.registries["methods"]
        wanted = list(self.described)
        for method in wanted:
            wanted += [name for name in entries[method].get("takes", {}).values() if name not in wanted]
        own = [entries[name] | {"name": name} for name in wanted if self.decoder_of(name) == decoder]
        found = ["decode"] if any("decoder" in entry for entry in own) else []
        found += [self._class_of(entry["name"]) for entry in own if "drawing" in entry]
        if any("captions" in self.drawing(entry["name"])["inputs"] for entry in own if "drawing" in entry):
            found.append("decode")
        return found + ["light" for entry in own if "made_by" in entry]

    def decoder_of(self, method: str) -> str | None:
        """The decoder that a method's output goes back to, also through other methods; None where there is none."""
        entry = self.registries["methods"][method]
        while "decoder" not in entry and entry.get("of"):
            entry = self.registries["methods"][entry["of"]]
        return entry.get("decoder")

    def _class_of(self, method: str) -> str:
        if method in self.config["retrieval_only"]:
            return pipelines()["retrieval"].resources
        return self.registries["methods"][method]["drawing"]["class"]

    def made_by_functions(self, makes: str, of_others: bool | None = None) -> list[str]:
        """Methods that a function of their folder makes, as `predictions` or `decoded`.

        of_others: only those that are, or are not, made from the output of another method.
        """
        made = {name: entry["made_by"] for name, entry in self.registries["methods"].items() if "made_by" in entry}
        return [
            name
            for name, entry in made.items()
            if entry["makes"] == makes and of_others in (None, entry["of"] is not None)
        ]

    @property
    def described(self) -> list[str]:
        """Methods that the report has a card for: those of the study, and those that its other methods build on."""
        registry, wanted = self.registries["methods"], list(self.methods)
        for method in wanted:
            of = registry[method].get("of")
            if of is not None and of not in wanted:
                wanted.append(of)
        return wanted

    @property
    def card_functions(self) -> list[str]:
        """Functions with which methods describe themselves on their cards."""
        entries = self.registries["methods"]
        return sorted({entries[method]["card"] for method in self.described if "card" in entries[method]})

    @property
    def trained(self) -> list[str]:
        """Methods of the study, and those that its other methods build on, whose network must be trained."""
        return [name for name in self.described if "training" in self.registries["methods"][name]]

    def stage_of(self, method: str, stage: str) -> str:
        """The stage of that name of the decoder that a method is drawn from."""
        entries = self.registries["methods"]
        decoder = entries[method]["decoder"]
        return next(name for name, e in entries.items() if e.get("decoder") == decoder and e.get("stage") == stage)

    def pretraining_subjects(self, decoder: str, target: str) -> list[str]:
        """Subjects whose data a network is pretrained on before it is fine-tuned on `target`: never its own.

        Those of the dataset come first, then those of the pools that the decoder's settings name, as hcp/100307.
        """
        chosen = self.section(decoder)["pretraining"]["subjects"]
        own = [s for s in self.available_sessions if (chosen == ALL or s in chosen) and s != target]
        pools = self.section(decoder)["pretraining"].get("pools", [])
        return own + [f"{pool}/{subject}" for pool in pools for subject in self.pools[pool].sessions]

    def recorded_sessions(self, subject: str) -> int:
        """Sessions of a subject of the dataset that the split has a use for, or of a subject of a pool."""
        pool, _, name = subject.rpartition("/")
        return self.pools[pool].sessions[name] if pool else self.available_sessions[subject]

    def pretraining(self, decoder: str, target: str) -> Pretraining | None:
        """The pretraining from which a decoder is fine-tuned on `target`; None for one that is trained from scratch.

        It is identified by whom and how it trains: targets whose pools are equal share it, and so do decoders of one
        folder whose task and training settings are equal.
        """
        entry = self.decoders[decoder]
        if not entry["training"]["pretrained"]:
            return None
        same = ("folder", "task", "training")
        first = next(name for name, other in self.decoders.items() if all(other.get(key) == entry[key] for key in same))
        subjects = self.pretraining_subjects(decoder, target)
        return Pretraining(first, pool_name(subjects, list(self.available_sessions)), subjects)

    @cached_property
    def pretrainings(self) -> dict[str, Pretraining]:
        """Path -> pretraining, of every decoder that starts from one and every subject of the dataset."""
        decoders = [name for name in self.decoders_with("training") if self.decoders[name]["training"]["pretrained"]]
        found = [self.pretraining(decoder, target) for decoder in decoders for target in self.available_sessions]
        return {one.path: one for one in found if one is not None}

    def pretrainings_of(self, decoders: list[str]) -> list[Pretraining]:
        """Pretrainings from which these trained decoders start on the study's subjects, each once."""
        found = [self.pretraining(decoder, target) for decoder in decoders for target in self.subjects]
        return list({one.path: one for one in found if one is not None}.values())

    @property
    def recorded(self) -> list[str]:
        """Subjects whose recordings the study needs: its own, and those that networks are pretrained on."""
        needed = set(self.subjects)
        for method in self.trained:
            entry = self.registries["methods"][method]
            if entry["training"]["pretrained"]:
                needed.update(*(self.pretraining_subjects(entry["decoder"], target) for target in self.subjects))
        return [subject for subject in self.available_sessions if subject in needed]

    def cells(self, method: str) -> list[Cell]:
        """Cells that a method is scored at: those of the study, or those that a submission brings."""
        if method in self.submissions:
            return [
                Cell(p.subject, p.sessions, p.seed, p.test_set)
                for subject in self.subjects
                for p in self.submissions[method]
                if p.subject == subject
            ]
        return [
            Cell(subject, sessions, seed, test_set)
            for subject in self.subjects
            for sessions in self.budgets_of(method, subject)
            for seed in self.seeds
            for test_set in self.test_sets
        ]

    def longest_cells(self, method: str) -> list[Cell]:
        """Each subject's cells with the method's longest budget."""
        return [cell for cell in self.cells(method) if cell.sessions == self.budgets_of(method, cell.subject)[-1]]

    def made_at(self, method: str, cell: Cell) -> Cell:
        """The cell under which a method's prediction for `cell` is made and stored."""
        return cell.varying(self.registries["methods"][method]["varies_with"])

    def released_network(self, decoder: str, subject: str, sessions: int | float) -> str:
        """Name, in lower case, in config/backbones.yaml of a decoder's published network for a subject and budget."""
        return self.decoders[decoder]["released"].format(subject=subject, sessions=sessions).lower()

    def released_file(self, decoder: str, subject: str, sessions: int | float) -> str:
        """The checkpoint of that network, in the folder it is fetched into."""
        (file,) = self.registries["backbones"][self.released_network(decoder, subject, sessions)]["files"]
        return file


class _Setting(NamedTuple):
    """A value, the key that sets it, and the file of that key."""

    value: Any
    key: str
    where: str

    def among(self, known: Iterable[str], what: str) -> None:
        """Raises UserError for a value, or one of a list of values, that is not among the known ones."""
        for value in self.value if isinstance(self.value, list) else [self.value]:
            if value not in known:
                raise problem(self.key, f"{what} '{value}'; {nearest(str(value), known, 'available')}", self.where)


def fixing_control(methods: dict[str, dict], method: str, end: str, needs: str) -> str:
    """The control that fixes one end ("floor" or "ceiling") of a method's normalised score; "" if there is none.

    methods: entries of the registry, those of the study; needs: of the metric. A control of the method itself takes
    precedence over one of its decoder, then one of no method, and that one over those of other methods.
    """
    nearest = {"": 2} | {methods[method].get("of"): 1} | {method: 0}
    ends = [name for name, entry in methods.items() if needs in entry.get("scale", {}).get(end, [])]
    return min(ends, key=lambda name: nearest.get(methods[name].get("of", ""), 3), default="")
