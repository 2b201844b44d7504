"""A study: one configuration, checked against its schema and against the registries before anything runs.

Every problem is one line that names the configuration key and the remedy.
"""

import difflib
import hashlib
import json
import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import yaml

from fmri2img import plugins
from fmri2img.artifacts.budgets import parse_sessions
from fmri2img.artifacts.cells import Cell
from fmri2img.datasets.nsd import layout
from fmri2img.errors import UserError
from fmri2img.methods.mindeye2.configuration import LossConfig, LowLevelConfig, ModelConfig
from fmri2img.methods.plan import MethodQueries, fixing_control
from fmri2img.methods.registry import read_methods
from fmri2img.metrics.registry import read_metrics
from fmri2img.paths import REPOSITORY
from fmri2img.submissions.record import SubmittedPrediction, predictions_of, read_record
from fmri2img.training.configuration import TrainingConfig

TERMS_FORM = "https://forms.gle/xue2bCdM9LaFNMeb7"

# Keys that name a frozen network, and the kinds of it that can stand there.
ROLES = {
    "encoder": ("open_clip",),
    "autoencoder": ("diffusers_vae",),
    "generator": ("diffusers_unet",),
    "captioner": ("git",),
    "caption_converter": ("caption_converter",),
    "refinement.generator": ("diffusers_unet",),
    "refinement.prompts": ("open_clip", "sdxl_text"),
    "mindeye2.low_level.autoencoder": ("diffusers_vae",),
    "mindeye2.low_level.teacher": ("efficientnet_lite_map", "vicregl_convnext"),
}
FEATURE_KINDS = ("open_clip", "torchvision", "efficientnet_lite")


def check_schema(value: dict, schema_name: str, what: str) -> None:
    """Check `value` against workflow/schemas/<schema_name>.schema.yaml; UserError names the first offending key.

    what: how the value is called in the message, e.g. "configuration" or the path of a registry.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    schema = yaml.safe_load((REPOSITORY / "workflow" / "schemas" / f"{schema_name}.schema.yaml").read_text())
    error = best_match(Draft202012Validator(schema).iter_errors(value))
    if error is None:
        return
    key = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = next(name for name in error.instance if name not in known)
        near = difflib.get_close_matches(unknown, known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
        raise UserError(f"{what}: unknown key '{key + '.' if key else ''}{unknown}'; {hint}")
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        raise UserError(f"{what}: key '{key + '.' if key else ''}{missing}' is missing; see config/README.md")
    wanted = error.schema.get("description")
    problem = f"{error.instance!r} is not {wanted}" if wanted else error.message
    raise UserError(f"{what}: key '{key}': {problem}; see config/README.md")


class Study(MethodQueries):
    """A checked configuration with its registries.

    config: the merged configuration; methods: those it lists, then its submissions; registries: methods, metrics and
    backbones (name -> entry) of config/*.yaml, submissions being methods of kind `submission`; submissions: name -> its
    predictions that are of a subject and budget of the study.
    Raises UserError when anything is wrong that can be known before the first job.
    """

    def __init__(self, config: dict) -> None:
        check_schema(config, "config", "configuration")
        self.config = config
        self.name: str = config["study"]
        self.root = Path(config["dataset"]["root"])
        self.subjects: list[str] = config["subjects"]
        self.methods: list[str] = [*config["methods"], *config["submissions"]]
        self.seeds: list[int] = config["seeds"]
        for folder in config.get("plugins", []):
            plugins.register(folder)
        self.registries = {
            "backbones": yaml.safe_load((REPOSITORY / "config" / "backbones.yaml").read_text()),
            "metrics": read_metrics(REPOSITORY / "config" / "metrics.yaml"),
        }
        check_schema(self.registries["backbones"], "backbones", "config/backbones.yaml")
        self.registries["methods"] = read_methods()
        for method in config["retrieval_only"]:
            entry = self._named(self.registries["methods"], method, "retrieval_only", "config/methods.yaml")
            entry["outputs"] = ["retrieval"]
        self._check_dataset()
        self._check_budgets()
        self.submissions = {name: self._read_submission(name, entry) for name, entry in config["submissions"].items()}
        self._check_registered()

    @property
    def recorded_brains(self) -> bool:
        """Whether there are recordings; a dataset of test images alone can only score submissions."""
        return self.config["dataset"]["kind"] != "images"

    @property
    def simulated(self) -> bool:
        return self.config["dataset"]["kind"] == "simulated"

    @property
    def available_sessions(self) -> dict[str, int]:
        """Number of sessions of each subject of the dataset that the split has a use for (shared982 ends early)."""
        sessions = layout.SESSIONS
        if self.simulated:
            sessions = {s: p["sessions"] for s, p in self.config["dataset"]["simulation"]["subjects"].items()}
        if self.config["split"] == "shared982":
            last = self.config["splits"]["shared982_sessions"]
            sessions = {subject: min(number, last) for subject, number in sessions.items()}
        return sessions

    def sessions_of(self, budget: int | str, subject: str) -> int | float:
        """Sessions that a budget of the configuration means for a subject: `all` is its own number, and `10min` a
        sixth of one, because a session takes about an hour (750 trials; MindEye2's figures count 125 for 10 minutes).
        """
        if budget == "all":
            return self.available_sessions[subject]
        if isinstance(budget, str):
            return parse_sessions(f"{int(budget.removesuffix('min')) / 60:.6f}")
        return budget

    def budgets(self, subject: str) -> list[int | float]:
        """Training budgets of a subject in sessions, ascending."""
        return sorted({self.sessions_of(budget, subject) for budget in self.config["sessions"]})

    @property
    def test_sets(self) -> list[str]:
        return [self.config["split"]]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the configuration and of the registries, on which everything in a report depends."""
        content = json.dumps([self.config, self.registries], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @staticmethod
    def budget_label(budget: int | str) -> str:
        """A budget of the configuration as a label of the report."""
        if str(budget).endswith("min"):
            return f"{str(budget).removesuffix('min')} minutes"
        return "1 session" if budget == 1 else f"{budget} sessions"

    @property
    def metrics(self) -> dict[str, dict]:
        """Registry entries of the study's metrics."""
        return {name: self.registries["metrics"][name] for name in self.config["metrics"]}

    def reads(self, needs: str) -> bool:
        """Whether a metric of the study reads images, retrieval, captions or brain."""
        return any(metric["needs"] == needs for metric in self.metrics.values())

    @property
    def on_brain(self) -> bool:
        return self.reads("brain")

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

    def methods_beside(self) -> list[str]:
        """Methods that have scores in the finished study that stands beside this one, too."""
        beside = Path("results", self.config["beside"])
        if not (beside / "config.yaml").is_file():
            return []
        return [method for method in self.methods if (beside / "scores" / f"{method}.parquet").is_file()]

    def seeds_of(self, method: str) -> list[int]:
        """Seeds of a method: the study's, or those a submission brings."""
        if method in self.submissions:
            return sorted({prediction.seed for prediction in self.submissions[method]})
        return self.seeds

    def submitted(self, method: str, cell: Cell) -> SubmittedPrediction:
        """The submission's prediction of a cell."""
        return next(p for p in self.submissions[method] if (p.subject, p.sessions, p.seed, p.test_set) == cell)

    def _read_submission(self, name: str, entry: dict) -> list[SubmittedPrediction]:
        """Check a submission's record, register it as a method, and keep what the study's cells ask for."""
        key = f"configuration: key 'submissions.{name}'"
        if name in self.registries["methods"]:
            raise UserError(f"{key}: is a method of config/methods.yaml; give the submission another name")
        record, folder = entry, Path()
        if "path" in entry:
            record, folder = read_record(entry["path"])
            record = record | {part: value for part, value in entry.items() if part != "path"}
        check_schema(record, "submission", f"submission {name}")
        stands_for = record.get("stands_for")
        if stands_for is not None:
            self._named(self.registries["methods"], stands_for, f"submissions.{name}.stands_for", "config/methods.yaml")
        fetched = {entry: Path("models") / entry for entry in self.registries["backbones"]}
        submitted = [
            replace(p, sessions=self.sessions_of(p.sessions, p.subject), test_set=p.test_set or self.test_sets[0])
            for p in predictions_of(name, record, folder, fetched)
            if p.subject in self.subjects
        ]
        kept = [p for p in submitted if p.sessions in self.budgets(p.subject) and p.test_set in self.test_sets]
        if not kept:
            brought = ", ".join(f"{p.subject} at {p.sessions}" for p in submitted) or "no subject of the study at any"
            raise UserError(
                f"{key}: brings {brought} sessions, none of which the study's subjects and sessions ask for"
            )
        cells = [Cell(p.subject, p.sessions, p.seed, p.test_set) for p in kept]
        for cell in cells:
            if cells.count(cell) > 1:
                raise UserError(
                    f"{key}: two predictions of {cell.subject}, {cell.sessions} sessions, seed {cell.seed}; keep one"
                )
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

    def _check_dataset(self) -> None:
        dataset = self.config["dataset"]
        section = "simulation" if self.simulated else dataset["kind"]
        if section not in dataset:
            raise UserError(f"configuration: key 'dataset.{section}' is missing; dataset.kind is '{dataset['kind']}'")
        for subject in self.subjects:
            if subject not in self.available_sessions:
                known = ", ".join(self.available_sessions)
                raise UserError(f"configuration: key 'subjects': no data for {subject}; there are {known}")

        mask = self.config["betas"]["mask"]
        own = [Path(dataset.get("nsd", {}).get("copy") or self.root, layout.roi(s, mask)) for s in self.subjects]
        if mask.removeprefix("lh.").removeprefix("rh.") not in layout.ROI_FILES and not all(p.is_file() for p in own):
            near = difflib.get_close_matches(mask, layout.ROI_FILES, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"NSD has {', '.join(layout.ROI_FILES)}"
            raise UserError(f"configuration: key 'betas.mask': no region file '{mask}'; {hint}")
        if not self.methods:
            raise UserError("configuration: key 'methods': none is listed and there are no submissions; name a method")
        if self.recorded_brains:
            return
        if self.config["methods"]:
            raise UserError(
                "configuration: key 'methods': must be [] for a dataset of images alone, which has no recordings to "
                "decode; list submissions only"
            )
        if self.config["split"] != "shared1000":
            raise UserError("configuration: key 'split': a dataset of images alone has only shared1000; set it so")
        self._named(
            self.registries["backbones"],
            dataset["images"]["fetched"],
            "dataset.images.fetched",
            "config/backbones.yaml",
        )

    def _check_budgets(self) -> None:
        for subject in self.subjects:
            available = self.available_sessions[subject]
            for budget in self.config["sessions"]:
                if self.sessions_of(budget, subject) > available:
                    raise UserError(
                        f"configuration: key 'sessions': {budget} sessions asked, but {subject} has {available} "
                        f"in split {self.config['split']}; use 'all' for each subject's own number"
                    )
        beside = self.config["beside"]
        if beside is not None and not self.methods_beside():
            raise UserError(
                f"configuration: key 'beside': results/{beside} holds no finished study with a method of this one; "
                f"run study {beside} first"
            )
        split, clusters = self.config["split"], self.config["splits"]["clusters"]
        if split.startswith("cluster") and int(split.removeprefix("cluster")) >= clusters:
            raise UserError(f"configuration: key 'split': {split} asked, but splits.clusters is {clusters}")

    def _check_registered(self) -> None:
        methods, metrics, backbones = (self.registries[n] for n in ("methods", "metrics", "backbones"))
        for method in self.config["methods"]:
            self._named(methods, method, "methods", "config/methods.yaml")
            of = methods[method].get("of")
            if methods[method]["kind"] == "control" and of is not None and of not in self.methods:
                raise UserError(f"configuration: key 'methods': {method} is a control of {of}, which is not listed")
        for metric in self.config["metrics"]:
            entry = self._named(metrics, metric, "metrics", "config/metrics.yaml")
            if entry["needs"] == "brain" and not self.recorded_brains:
                raise UserError(
                    f"configuration: key 'metrics': {metric} needs recordings; the dataset has images alone"
                )
            if entry.get("network"):
                self._named(backbones, entry["network"], f"metrics: {metric}", "config/backbones.yaml")
        for subject in self._chosen_for_pretraining():
            if subject not in self.available_sessions:
                known = ", ".join(self.available_sessions)
                raise UserError(
                    f"configuration: key 'mindeye2.pretraining.subjects': no data for {subject}; there are {known}"
                )
        if any(methods[method]["training"]["pretrained"] for method in self.trained):
            for target in self.subjects:
                if not self.pretraining_subjects("mindeye2", target):
                    raise UserError(
                        f"configuration: key 'mindeye2.pretraining.subjects': nobody is left to pretrain on for "
                        f"{target}; name another subject"
                    )
        self._check_networks()
        self._check_drawing()
        self._check_training()
        self._check_bottleneck()
        self._check_encoding()
        self._check_released()

    def _check_networks(self) -> None:
        """Every key that names a frozen network names one of the kind it needs."""
        for key, kinds in ROLES.items():
            value = self.config
            for part in key.split("."):
                value = None if value is None else value[part]
            if value is not None and (key, value) != ("caption_converter", "trained"):
                self._network(value, key, *kinds)
        for number, band in enumerate(self.config["encoding"]["bands"]):
            key = f"encoding.bands.{number}"
            layers = self._network(band["network"], f"{key}.network", *FEATURE_KINDS)["layers"]
            if band["layer"] not in layers:
                raise UserError(
                    f"configuration: key '{key}.layer': {band['network']} has no layer '{band['layer']}'; there are "
                    f"{', '.join(layers)}"
                )

    def _check_training(self) -> None:
        """Sizes, losses and training of MindEye2 as its networks' own readers take them."""
        section, encoder = self.config["mindeye2"], self.registries["backbones"][self.config["encoder"]]
        sizes = {"backbone": "as_released", "tokens": encoder["tokens"], "token_width": encoder["token_width"]}
        where = "configuration: mindeye2"
        ModelConfig.from_dict(section["model"] | sizes, f"{where}.model")
        if section["low_level"]:
            # The side follows from the autoencoder, which is not open yet; this one can be halved as often as need be.
            LowLevelConfig.from_dict({"latent_side": 1024} | section["low_level"]["head"], f"{where}.low_level.head")
        LossConfig.from_dict(section["losses"], f"{where}.losses")
        for stage in ("pretraining", "finetuning"):
            try:
                TrainingConfig.from_dict(section[stage]["training"]).check_processes(section[stage]["processes"])
            except UserError as error:
                raise UserError(f"{where}.{stage}: {error}") from error

    def _check_drawing(self) -> None:
        """What turns decoded tokens into pictures fits the methods that need it."""
        methods = self.registries["methods"]
        for method in self.config["retrieval_only"]:
            if methods[method]["kind"] != "decoder":
                raise UserError(f"configuration: key 'retrieval_only': {method} is not a decoder; remove it")
            for other in self.methods:
                if methods[other].get("of") == method:
                    raise UserError(
                        f"configuration: key 'retrieval_only': {other} needs the pictures of {method}; drop one of them"
                    )
        refinement, low_level = self.config["refinement"], self.config["mindeye2"]["low_level"]
        for method in [*self.drawn_by("blend"), *self.drawn_by("latents")] if low_level is None else []:
            if method in self.methods:
                refined = self.stage_of(method, "refined")
                raise UserError(f"configuration: key 'mindeye2.low_level' is null, which {method} needs; use {refined}")
        if refinement["start"] >= refinement["steps"]:
            raise UserError("configuration: key 'refinement.start' must be below refinement.steps, or no step is run")

    def _check_encoding(self) -> None:
        """The encoding model behind brain correlation was trained on none of the images it judges."""
        backbones, model = self.registries["backbones"], self.config["encoding"]["model"]
        if model == "banded_ridge":
            return
        key = "configuration: key 'encoding.model'"
        if self._named(backbones, model, "encoding.model", "config/backbones.yaml")["kind"] != "gnet":
            raise UserError(f"{key}: {model} is no encoding model; use banded_ridge or an entry of kind gnet")
        if self.config["dataset"]["kind"] == "simulated":
            raise UserError(f"{key}: {model} knows NSD's subjects, and these are simulated; use banded_ridge")
        if self.config["split"].startswith("cluster"):
            raise UserError(
                f"{key}: {model} was trained on every image that is not shared, test images of split "
                f"{self.config['split']} among them; use banded_ridge"
            )

    def _check_released(self) -> None:
        """Published networks are there for every subject and budget, and fit the data and the encoder."""
        backbones, methods = self.registries["backbones"], self.registries["methods"]
        for method in (name for name in self.described if "released" in methods[name]):
            if self.config["dataset"]["kind"] != "nsd":
                raise UserError(
                    f"configuration: key 'methods': the networks of {method} decode NSD's subjects, but dataset.kind "
                    f"is '{self.config['dataset']['kind']}'; drop it and what builds on it"
                )
            if self.config["split"].startswith("cluster"):
                raise UserError(
                    f"configuration: key 'split': the networks of {method} were trained on test images of "
                    f"{self.config['split']}; use shared1000 or drop it and what builds on it"
                )
            there = [
                name
                for name in backbones
                if re.fullmatch(self.released_network(methods[method]["decoder"], ".*", ".*"), name)
            ]
            for subject in self.subjects:
                for sessions in self.budgets(subject):
                    name = self.released_network(methods[method]["decoder"], subject, sessions)
                    if name not in there:
                        raise UserError(
                            f"configuration: keys 'subjects' and 'sessions': {method} has no published network of "
                            f"{subject} at {sessions} sessions; there are {', '.join(there)} (config/backbones.yaml)"
                        )
                    encoder = backbones[name]["features"]
                    if encoder != self.config["encoder"]:
                        raise UserError(
                            f"configuration: key 'encoder': the networks of {method} decode tokens of {encoder}, not "
                            f"of {self.config['encoder']}; set it so or drop {method} and what builds on it"
                        )

    def _check_bottleneck(self) -> None:
        """The curve is of decoders that are fitted to a subject's responses."""
        methods = self.registries["methods"]
        for method in self.config["bottleneck"]["methods"]:
            entry = self._named(methods, method, "bottleneck.methods", "config/methods.yaml")
            if "linear" not in entry and "training" not in entry:
                raise UserError(
                    f"configuration: key 'bottleneck.methods': {method} is not fitted to a subject's responses; use "
                    f"one of {', '.join(self.decoders_with('linear', 'training'))}"
                )

    def _chosen_for_pretraining(self) -> list[str]:
        chosen = self.config["mindeye2"]["pretraining"]["subjects"]
        return [] if chosen == "all" else chosen

    def _network(self, name: str, key: str, *kinds: str) -> dict:
        """The entry of a frozen network that `key` names, which must be of one of these kinds."""
        backbones = self.registries["backbones"]
        entry = self._named(backbones, name, key, "config/backbones.yaml")
        if entry["kind"] not in kinds:
            there = ", ".join(other for other in backbones if backbones[other]["kind"] in kinds)
            raise UserError(
                f"configuration: key '{key}': {name} is of kind {entry['kind']}, which cannot stand here; there are "
                f"{there}"
            )
        return entry

    @staticmethod
    def _named(registry: dict, name: str, key: str, where: str) -> dict:
        if name not in registry:
            near = difflib.get_close_matches(name, registry, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(registry)}"
            raise UserError(f"configuration: key '{key}': '{name}' is not in {where}; {hint}")
        return registry[name]

    def check_terms(self) -> None:
        """What only a real run needs: NSD's data terms are accepted."""
        dataset = self.config["dataset"]
        if dataset["kind"] == "nsd" and not dataset["nsd"]["terms_accepted"]:
            raise UserError(
                "configuration: key 'dataset.nsd.terms_accepted' is false; read and sign NSD's Data Sharing and Usage "
                f"Agreement at {TERMS_FORM}, then set it to true"
            )
