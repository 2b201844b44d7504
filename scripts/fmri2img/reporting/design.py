"""Design: what a report has to show, no matter what the Scores contain, so that gaps stay visible."""

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from fmri2img.artifacts.budgets import Budget
from fmri2img.gaps import ALL_CELLS

GAP = "—"
NAMED = 4  # methods that are named where many lack scores for one reason
MANY = 12  # methods above which figures show the first of each family
ORDER = {"submission": 1, "control": 2}  # order of kinds in tables; all others come first


@dataclass(frozen=True)
class Design:
    """The cells of a study.

    methods, metrics: registry entries of the study, in registry order, decoders before submissions before controls. A
    metric's `chance` is a number or None; a level that depends on the images is None until `with_chances` sets it.
    budgets: label ("1", "2", "all") -> subject -> training sessions, in the order of the configuration. own_seeds:
    seeds of methods whose seeds differ from the study's (submissions). own_budgets: labels of the budgets of methods
    that run at fewer than the study's. encoding: the encoding model that brain correlation is measured with. kinds:
    test set -> its kind (`Dataset.kind_of`). dataset, data: name of the dataset, and of its data in texts. gaps:
    method -> what it lacks because jobs failed, as records of `gaps.missing_scores`.
    """

    study: str
    dataset: str
    data: str
    simulated: bool
    split: str
    test_sets: list[str]
    subjects: list[str]
    methods: dict[str, dict]
    metrics: dict[str, dict]
    budgets: dict[str, dict[str, int | float]]
    seeds: list[int]
    resamples: int
    confidence: float
    own_seeds: dict[str, list[int]] = field(default_factory=dict)
    own_budgets: dict[str, list[str]] = field(default_factory=dict)
    encoding: str = "banded_ridge"
    kinds: dict[str, str] = field(default_factory=dict)
    gaps: dict[str, list[dict]] = field(default_factory=dict)

    @classmethod
    def of(cls, study) -> "Design":
        """The design of a `fmri2img.study.Study`."""
        config, registry = study.config, study.registries["methods"]
        methods = {name: registry[name] for name in study.methods}
        return cls(
            study=study.name,
            dataset=study.dataset.name,
            data=study.dataset.label,
            simulated=study.dataset.simulated,
            split=config["split"],
            test_sets=study.test_sets,
            subjects=study.subjects,
            methods=dict(sorted(methods.items(), key=lambda item: ORDER.get(item[1]["kind"], 0))),
            metrics={
                name: entry | {"chance": None if isinstance(entry["chance"], str) else entry["chance"]}
                for name, entry in study.registries["metrics"].items()
                if name in config["metrics"]
            },
            budgets={budget.label: dict(budget.sessions) for budget in study.training_budgets},
            seeds=study.seeds,
            resamples=config["statistics"]["resamples"],
            confidence=config["statistics"]["confidence"],
            own_seeds={name: study.seeds_of(name) for name in study.submissions},
            own_budgets={name: [str(value) for value in study.chosen_budgets(name)] for name in study.settings.methods},
            encoding=config["encoding"]["model"],
            kinds={name: study.dataset.kind_of(name) for name in study.test_sets},
        )

    @property
    def test_set(self) -> str:
        """The test set that tables and figures show: the split's first."""
        return self.test_sets[0]

    def seeds_of(self, method: str) -> list[int]:
        """Seeds that a complete cell of a method has."""
        return self.own_seeds.get(method, self.seeds)

    def budgets_of(self, *methods: str) -> list[str]:
        """Labels of the budgets at which all of these methods run, from the fewest sessions to the most."""
        chosen = [self.own_budgets.get(method, list(self.budgets)) for method in methods]
        labels = [label for label in self.budgets if all(label in own for own in chosen)]
        return sorted(labels, key=lambda label: self.budget(label).total)

    def with_chances(self, chances: dict[str, float]) -> "Design":
        """The same design with the chance level of some metrics set."""
        metrics = {name: entry | {"chance": chances.get(name, entry["chance"])} for name, entry in self.metrics.items()}
        return replace(self, metrics=metrics)

    def with_gaps(self, records: list[dict]) -> "Design":
        """The same design with what its methods lack, of `gaps.missing_scores`."""
        found: dict[str, list[dict]] = {}
        for record in records:
            found.setdefault(record["method"], []).append(record)
        return replace(self, gaps=found)

    def is_absent(self, method: str) -> bool:
        """Whether a method has no score at all, because something failed."""
        return any(record["n_scored"] == 0 for record in self.gaps.get(method, []))

    def why_missing(self, method: str, where: bool = False) -> str:
        """Why a method lacks scores, after its name: "failed: loss is nan"; where: also in which job, and its log."""
        texts = []
        for record in self.gaps.get(method, []):
            text = f"{'failed' if record['what'] == ALL_CELLS else 'lacks ' + record['what']}: {record['reason']}"
            if where:
                more = f" and {record['n_jobs'] - 1} more" if record["n_jobs"] > 1 else ""
                text += f" ({'; '.join(filter(None, [record['job'] + more, record['log']]))})"
            texts.append(text)
        return "; ".join(texts)

    def failures(self) -> list[dict]:
        """One record for each reason for which scores are missing.

        reason; lacks ("MindEye2 (all); Ridge (subj03)"); job, the first that failed; log.
        """
        found: dict[tuple, list[dict]] = {}
        for record in [record for records in self.gaps.values() for record in records]:
            found.setdefault((record["rule"], record["reason"]), []).append(record)
        shown = []
        for records in found.values():
            lacks = [f"{self.methods[record['method']]['title']} ({record['what']})" for record in records]
            if len(lacks) > NAMED + 1:
                lacks = [*lacks[:NAMED], f"and {len(lacks) - NAMED} more methods"]
            n_jobs = max(record["n_jobs"] for record in records)
            job = f"{records[0]['job']} and {n_jobs - 1} more" if n_jobs > 1 else records[0]["job"]
            shown.append({key: records[0][key] for key in ("reason", "log")} | {"job": job, "lacks": "; ".join(lacks)})
        return shown

    def with_suspicions(self, found: list[tuple[str, str]]) -> "Design":
        """The same design with `suspicions` (texts) in the entries of the methods that have any."""
        texts = {name: [text for method, text in found if method == name] for name in self.methods}
        methods = {n: entry | {"suspicions": texts[n]} if texts[n] else entry for n, entry in self.methods.items()}
        return replace(self, methods=methods)

    def at_longest(self) -> "Design":
        """The same design at the longest budget alone."""
        return replace(self, budgets={self.longest_budget: self.budgets[self.longest_budget]})

    def of_images(self) -> "Design":
        """The same design without metrics that have no value for a single image."""
        metrics = {name: entry for name, entry in self.metrics.items() if entry.get("unit", "image") == "image"}
        return replace(self, metrics=metrics)

    @property
    def families(self) -> dict[str, list[str]]:
        """First method of each family -> all of its methods, in the order of the design.

        A family is what one folder declares: a method with its variants and stages, or a control of several methods. A
        submission is a family of its own. The first method that the study lists stands for its family.
        """
        found: dict[str, list[str]] = {}
        for name, entry in self.methods.items():
            found.setdefault(entry.get("folder", name), []).append(name)
        return {members[0]: members for members in found.values()}

    def condensed(self) -> "Design":
        """The same design with the first method of each family alone, where there are more than MANY methods."""
        shown = self.families if len(self.methods) > MANY else self.methods
        return replace(self, methods={name: self.methods[name] for name in self.methods if name in shown})

    def metrics_in(self, effects) -> list[str]:
        """Metrics of the design that have a row in a table with a column `metric`."""
        return [name for name in self.metrics if (effects["metric"] == name).any()]

    def answering(self, method: str | None) -> str | None:
        """The method itself if the study has it, else the first method or submission that stands for it, else None."""
        if method is None:
            return None
        stand_ins = [name for name, entry in self.methods.items() if entry.get("stands_for") == method]
        return method if method in self.methods or not stand_ins else stand_ins[0]

    @property
    def decoders(self) -> list[str]:
        """Methods that decode from the brain; in a study that runs none of its own, those that were submitted."""
        own = [name for name, entry in self.methods.items() if entry["kind"] == "decoder"]
        return own or [name for name, entry in self.methods.items() if entry["kind"] == "submission"]

    @property
    def data_source(self) -> str:
        """The value of the column `data` of tables: where responses come from."""
        return "simulated" if self.simulated else self.dataset

    @property
    def longest_budget(self) -> str:
        """Label of the budget with the most sessions in all."""
        return max(self.budgets, key=lambda label: self.budget(label).total)

    def budget(self, label: str) -> Budget:
        """A budget by its label, for its title and numbers."""
        return Budget(label, self.budgets[label])


def matching(names, patterns: list[str]) -> list[str]:
    """The `names` that match any of the shell-style `patterns`, in their own order."""
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def is_of_whole_set(metric: dict) -> bool:
    """Whether a metric has one value for all images of a prediction: no interval, test or image to show it with."""
    return metric.get("unit") == "set"


def is_proportion(metric: dict) -> bool:
    """Whether a metric is a share of correct choices, shown in percent as in the literature."""
    return list(metric["range"]) == [0, 1]


def arrow(metric: dict) -> str:
    """The direction of better values."""
    return "↑" if metric["higher_is_better"] else "↓"


def number(value: float, metric: dict) -> str:
    """A value as displayed: percent with one decimal, or three decimals. NaN becomes a gap."""
    if value != value:
        return GAP
    text = f"{100 * value:.1f}" if is_proportion(metric) else f"{value:.3f}"
    return text.replace("-", "−")
