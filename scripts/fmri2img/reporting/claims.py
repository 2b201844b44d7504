"""Claims of a study, in two lists: checks, which hold unless something is broken, and published findings.

config/claims.yaml holds claims about methods of any name; the folder of a method may hold a claims.yaml with claims
about its own methods. Each is tested on the study's Scores: a check holds or fails, a finding is seen or not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import yaml
from pydantic import Field

from fmri2img import plugins
from fmri2img.errors import UserError
from fmri2img.metrics.registry import is_scored
from fmri2img.paths import REPOSITORY
from fmri2img.reporting.design import GAP, Design, is_of_whole_set, matching, number
from fmri2img.reporting.estimates import at_budgets, intervals
from fmri2img.reporting.leaderboard import scale_end
from fmri2img.reporting.suspicions import EQUAL
from fmri2img.reporting.tables import Cell, Column, Row, Table
from fmri2img.reporting.transfer_claims import TESTS as TRANSFER_TESTS
from fmri2img.reporting.transfer_claims import Transfer
from fmri2img.settings.base import Settings, nearest, problem

GENERAL = REPOSITORY / "config" / "claims.yaml"
CHECK, FINDING = "check", "finding"
COLUMNS = [
    "kind", "claim", "method", "metric", "budget", "reference", "mean", "low", "high", "tested", "met", "finding",
    "source", "note",
]  # fmt: skip
NOT_TESTED = "not tested"
VERDICTS = {CHECK: ("holds", "FAILS"), FINDING: ("seen", "not seen")}
KINDS = ("decoder", "stage", "control", "submission")
ENDS = ("floor", "ceiling")
Interval = tuple[float, float, float]
NOTHING: Interval = (float("nan"),) * 3


class Claim(Settings):
    """One claim, tested for each of its methods and metrics at each of its budgets."""

    claim: str = Field(description="The claim as a sentence without a full stop.")
    test: Literal[
        "rises", "does_not_fall", "at_chance", "no_better_than_chance", "beats", "beats_in_some_metric",
        "larger_gain_at", "differs_from_stimulus", "ranks_do_not_carry_over", "falls",
    ]  # fmt: skip
    methods: str | None = Field(
        None,
        description="Name of a method, a kind (decoder, stage, control), floor, ceiling or any; in a method's folder "
        "by default all of its methods.",
    )
    than: str | None = Field(
        None, description="What they are compared with: a method, the folder of a control, floor or ceiling."
    )
    metrics: list[str] = Field(min_length=1, description="Metrics, * standing for any letters.")
    budgets: list[int | str] | Literal["shortest", "longest"] | None = Field(None, description="By default all.")
    at: Literal["shortest", "longest"] | None = None
    test_sets: list[str] | None = Field(
        None, min_length=2, description="Kinds or names of test sets, in order, for tests that span them."
    )
    tolerance: float = Field(
        0,
        ge=0,
        description="Share of the chance level within which a mean is at chance; of beats_in_some_metric a gain, of "
        "ranks_do_not_carry_over a correlation.",
    )


class Check(Claim):
    broken: str = Field(description="What is probably broken where it fails, as a sentence.")


class Finding(Claim):
    source: str = Field(description="Where it was published.")
    otherwise: str = Field(description="Why a small or simulated study may not show it, as a sentence.")


class Claims(Settings):
    """A file of claims."""

    checks: list[Check] = Field([], description="Claims that hold on any study.")
    findings: list[Finding] = Field([], description="Claims that were published.")


def read_claims(methods: dict[str, dict], metrics: dict[str, dict]) -> list[dict]:
    """All claims, checks first, as dictionaries with `kind`, `source`, `note` and, from a method's folder, `folder`.

    methods, metrics: the whole registries. Raises UserError that names the file and the key of a claim that names none
    of them.
    """
    found: dict[str, list[dict]] = {CHECK: [], FINDING: []}
    folders = {entry["folder"] for entry in methods.values() if "folder" in entry}
    for file in (GENERAL, *plugins.files("methods", GENERAL.name)):
        try:
            read = Claims.read(yaml.safe_load(file.read_text(encoding="utf-8")), str(file))
        except yaml.YAMLError as error:
            raise UserError(f"{file}: not YAML ({' '.join(str(error).split())}); correct the file") from None
        own = {} if file == GENERAL else {"folder": file.parent.name}
        for place, claim in [*enumerate(read.checks), *enumerate(read.findings)]:
            kind, key = (CHECK, "checks") if isinstance(claim, Check) else (FINDING, "findings")
            where = f"{key}.{place}"
            if claim.methods is None and not own:
                raise problem(f"{where}.methods", "missing; add it", str(file))
            for name, role in ((claim.methods, "methods"), (claim.than, "than")):
                known = [*methods, *folders, *KINDS, *ENDS, "any"]
                if name is not None and name not in known:
                    raise problem(f"{where}.{role}", f"'{name}' is not a method; {nearest(name, known)}", str(file))
            if not matching(metrics, claim.metrics):
                what = f"{', '.join(claim.metrics)} match no metric; correct them"
                raise problem(f"{where}.metrics", what, str(file))
            for role, tests in (
                ("than", ("beats", "beats_in_some_metric", "larger_gain_at")),
                ("at", ("larger_gain_at",)),
                ("test_sets", tuple(TRANSFER_TESTS)),
            ):
                if (getattr(claim, role) is None) == (claim.test in tests):
                    lack = "missing; add it" if claim.test in tests else f"test {claim.test} has none; remove it"
                    raise problem(f"{where}.{role}", lack, str(file))
            if claim.test == "ranks_do_not_carry_over" and len(claim.test_sets or []) != 2:
                raise problem(f"{where}.test_sets", "must name two; correct them", str(file))
            texts = (
                {"source": claim.source, "note": claim.otherwise}
                if isinstance(claim, Finding)
                else {"source": "", "note": claim.broken}
            )
            found[kind].append(claim.to_dict() | own | texts | {"kind": kind})
    return [*found[CHECK], *found[FINDING]]


@dataclass(frozen=True)
class Case:
    """A claim about one method, and the metrics in which it is compared with the same other one ("" for none).

    scores: of the design, with budgets; means: method, metric, budget -> mean, NaN for a gap; n_tests: number of
    (method, metric, budget) of the whole claim, by which intervals of checks are corrected.
    """

    claim: dict
    method: str
    than: str
    metrics: list[str]
    scores: pd.DataFrame
    means: pd.Series
    design: Design
    n_tests: int

    @property
    def budgets(self) -> list[str]:
        return claimed_budgets(self.claim, self.design, self.method)

    def told_of_gaps(self, row: dict) -> dict:
        """A row of the claim, which is not tested where a failure left it without the scores that it needs."""
        lacking = [name for name in (self.method, self.than) if name in self.design.gaps]
        if GAP not in row["finding"] or not lacking:
            return row
        what = " and ".join(
            f"{self.design.methods[name]['title']} {'is missing' if self.design.is_absent(name) else 'lacks scores'}"
            for name in lacking
        )
        return row | {"tested": False, "met": False, "finding": f"{NOT_TESTED}: {what}"}

    @property
    def corrected(self) -> float:
        """Confidence of each interval (Bonferroni), so that all of them hold together at that of the study."""
        return 1 - (1 - self.design.confidence) / max(self.n_tests, 1)

    def of(self, method: str) -> pd.DataFrame:
        return self.scores[(self.scores["method"] == method) & self.scores["metric"].isin(self.metrics)]

    def gains(self) -> pd.DataFrame:
        """Scores of the method minus those of the other, paired."""
        return _difference(self.of(self.method), self.of(self.than), ["metric", "budget"])

    def intervals(self, scores: pd.DataFrame, by: list[str], confidence: float | None = None) -> pd.DataFrame:
        return intervals(scores, by, self.design, confidence) if len(scores) else pd.DataFrame()

    def row(self, metric: str, budget: str, reference: str, interval: Interval, met: bool, finding: str) -> dict:
        mean, low, high = interval
        texts = {key: self.claim.get(key, "") for key in ("kind", "claim", "source", "note")}
        return texts | {
            "method": self.method, "metric": metric, "budget": budget, "reference": reference, "mean": mean,
            "low": low, "high": high, "tested": True, "met": bool(met), "finding": finding,
        }  # fmt: skip


def claimed_budgets(claim: dict, design: Design, method: str) -> list[str]:
    """Labels of the budgets, shortest first, that a claim is about and that a method has."""
    ordered = design.budgets_of(method)
    asked = claim.get("budgets")
    if asked in ("shortest", "longest"):
        return ordered[:1] if asked == "shortest" else ordered[-1:]
    return ordered if asked is None else [label for label in ordered if label in map(str, asked)]


def judge_claims(
    claims: list[dict], scores: pd.DataFrame, cells: pd.DataFrame, design: Design, transfer: Transfer | None = None
) -> pd.DataFrame:
    """One row for every claim, method, metric and budget that the design has, in the order of the claims.

    claims: of `read_claims`; cells: `estimates(scores, design)`; transfer: the test sets for claims that span them,
    None for a study with one. Columns: kind, claim, method, metric, budget ("" where the claim spans them), reference
    (what it is compared with), mean, low, high (of the difference or of the mean), tested, met, finding (text), source,
    note. A claim about cells without a full set of scores is not met, and it is not tested where these are gaps of a
    failure. Claims whose methods or metrics the study lacks give no row, and neither do metrics of the whole set, which
    have no interval to judge by.
    """
    means = cells.set_index(["method", "metric", "budget"])["mean"]
    labelled = at_budgets(scores, design)
    rows = []
    for claim in claims:
        if claim["test"] in TRANSFER_TESTS:
            rows += [] if transfer is None else _across_test_sets(claim, transfer, design)
            continue
        chosen = [
            (method, than, metrics)
            for method in claimed_methods(claim, design)
            for than, metrics in compared_metrics(claim, method, design).items()
        ]
        n_tests = sum(len(found) * len(claimed_budgets(claim, design, method)) for method, _, found in chosen)
        for method, than, metrics in chosen:
            case = Case(claim, method, than, metrics, labelled, means, design, n_tests)
            if case.budgets:
                rows += map(case.told_of_gaps, TESTS[claim["test"]](case))
    return pd.DataFrame(rows, columns=COLUMNS)


def _across_test_sets(claim: dict, transfer: Transfer, design: Design) -> list[dict]:
    """Rows of a claim about several test sets."""
    texts = {key: claim.get(key, "") for key in ("kind", "claim", "source", "note")}
    empty = dict(zip(("mean", "low", "high"), NOTHING, strict=True))
    found = TRANSFER_TESTS[claim["test"]](claim, claimed_methods(claim, design), transfer, design)
    return [texts | empty | row for row in found]


def claimed_methods(claim: dict, design: Design) -> list[str]:
    """Methods of a design that a claim is about."""
    named, folder = claim.get("methods"), claim.get("folder")

    def is_meant(name: str, entry: dict) -> bool:
        if named is None:
            return entry.get("folder") == folder
        if named in ENDS:
            return named in entry.get("scale", {})
        return named == "any" or named in (name, entry["kind"])

    return [name for name, entry in design.methods.items() if is_meant(name, entry)]


def compared_metrics(claim: dict, method: str, design: Design) -> dict[str, list[str]]:
    """Method that a claim compares `method` with -> metrics that both are scored by; "" where it compares with none."""
    found: dict[str, list[str]] = {}
    for name in matching(design.metrics, claim["metrics"]):
        metric = design.metrics[name]
        other = "" if claim.get("than") is None else _other(claim["than"], method, name, design)
        compared = [method, other] if claim.get("than") is not None else [method]
        able = all(one in design.methods and is_scored(design.methods[one], metric) for one in compared)
        if able and other != method and not is_of_whole_set(metric):
            found.setdefault(other, []).append(name)
    return found


def _other(than: str, method: str, metric: str, design: Design) -> str:
    """The method that `than` stands for: of several controls of a folder, the one that is nearest to the method."""
    if than in design.methods:
        return than
    if than in ENDS:
        return scale_end(design, method, than, metric)
    near = {design.methods[method].get("of"): 1, method: 0}
    controls = [name for name, entry in design.methods.items() if entry.get("folder") == than]
    return min(controls, key=lambda name: near.get(design.methods[name].get("of"), 2), default="")


def _difference(better: pd.DataFrame, worse: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Scores whose value is `better` minus `worse`, paired by `keys`, subject, seed and image."""
    keys = [*keys, "subject", "seed", "image_id"]
    pairs = better.merge(worse[[*keys, "value"]], on=keys, suffixes=("", "_worse"), validate="one_to_one")
    return pairs.assign(value=pairs["value"] - pairs["value_worse"]).drop(columns="value_worse")


def _signed(found: pd.DataFrame, key, metric: dict) -> Interval:
    """mean, low, high of a difference, counted positive where it is an improvement."""
    if key not in found.index:
        return NOTHING
    mean, low, high = found.loc[key, ["mean", "low", "high"]]
    return (mean, low, high) if metric["higher_is_better"] else (-mean, -high, -low)


def _interval_text(values: Interval, metric: dict) -> str:
    mean, low, high = (number(value, metric) for value in values)
    return f"{mean} [{low}, {high}]"


def _gain_text(gain: Interval, metric: dict) -> str:
    return f"{'+' if gain[0] > 0 else ''}{_interval_text(gain, metric)}"


def _steps(case: Case, monotone: bool) -> list[dict]:
    """Means at all budgets, and the gain from the first to the last."""
    budgets, rows = case.budgets, []
    if len(budgets) < 2:
        return rows
    own = case.of(case.method)
    first, last = (own[own["budget"] == budget] for budget in (budgets[0], budgets[-1]))
    confidence = None if monotone else case.corrected
    found = case.intervals(_difference(last, first, ["metric"]), ["metric"], confidence)
    for name in case.metrics:
        metric = case.design.metrics[name]
        steps = case.means.loc[[(case.method, name, budget) for budget in budgets]].to_numpy()
        whole, gain = not pd.isna(steps).any(), _signed(found, name, metric)
        finding = " → ".join(number(step, metric) for step in steps)
        if whole:
            finding += f"; last − first {_interval_text(gain, metric)}"
        if monotone:
            better = np.diff(steps) > 0 if metric["higher_is_better"] else np.diff(steps) < 0
            met = whole and better.all() and gain[1] > 0
        else:
            met = whole and gain[2] >= 0
        rows.append(case.row(name, "", f"{budgets[0]} sessions", gain, met, finding))
    return rows


def _rises(case: Case) -> list[dict]:
    """The mean is better at every longer budget, and the interval of last minus first is above zero."""
    return _steps(case, monotone=True)


def _does_not_fall(case: Case) -> list[dict]:
    """The interval of last minus first is not below zero (Bonferroni over the claim)."""
    return _steps(case, monotone=False)


def _at_chance(case: Case) -> list[dict]:
    """The interval comes within `tolerance` (a share of the chance level) of the chance level (Bonferroni).

    The least mean that shuffled predictions of n images may have in 2-way identification is chance * (1 - 1 / (n - 1)):
    one of the n - 1 distractors is the image that the prediction was decoded from, and a perfect decoder prefers it.
    """
    metrics = [name for name in case.metrics if case.design.metrics[name]["chance"] is not None]
    keys, own, rows = ["metric", "budget"], case.of(case.method), []
    found = case.intervals(own[own["metric"].isin(metrics)], keys, case.corrected)
    for name in metrics:
        metric = case.design.metrics[name]
        for budget in case.budgets:
            if pd.isna(case.means.loc[case.method, name, budget]):
                rows.append(case.row(name, budget, "chance", NOTHING, False, GAP))
                continue
            mean, low, high = found.loc[(name, budget), ["mean", "low", "high"]]
            slack = case.claim.get("tolerance", 0) * metric["chance"]
            met = low <= metric["chance"] + slack
            if case.claim["test"] == "at_chance":
                images = own[own["metric"] == name].groupby("subject")["image_id"].nunique().min()
                met = met and high >= metric["chance"] * (1 - 1 / max(images - 1, 1)) - slack
            text = _interval_text((mean, low, high), metric)
            rows.append(case.row(name, budget, "chance", (mean, low, high), met, text))
    return rows


def _beats(case: Case) -> list[dict]:
    """The interval of the paired difference is above zero."""
    found, rows = case.intervals(case.gains(), ["metric", "budget"]), []
    for name in case.metrics:
        metric = case.design.metrics[name]
        for budget in case.budgets:
            if budget not in case.design.budgets_of(case.than):
                continue
            both = case.means.loc[[(case.method, name, budget), (case.than, name, budget)]]
            gain = _signed(found, (name, budget), metric)
            finding = _gain_text(gain, metric) if both.notna().all() else GAP
            rows.append(case.row(name, budget, case.than, gain, both.notna().all() and gain[1] > 0, finding))
    return rows


def _beats_in_some_metric(case: Case) -> list[dict]:
    """The interval is above zero in at least one metric (Bonferroni over them), or reaches above `tolerance`: then the
    images are too few to tell. The clearest metric is shown."""
    confidence = 1 - (1 - case.design.confidence) / len(case.metrics)
    found, rows = case.intervals(case.gains(), ["metric", "budget"], confidence), []
    for budget in case.budgets:
        gains = {name: _signed(found, (name, budget), case.design.metrics[name]) for name in case.metrics}
        whole = {
            name: gain
            for name, gain in gains.items()
            if case.means.loc[[(case.method, name, budget), (case.than, name, budget)]].notna().all()
        }
        if not whole:
            rows.append(case.row(case.metrics[0], budget, case.than, NOTHING, False, GAP))
            continue
        best = max(whole, key=lambda name: whole[name][0] / max(whole[name][2] - whole[name][1], 1e-12))
        finding, gain = _gain_text(whole[best], case.design.metrics[best]), whole[best]
        open_ended = gain[0] > 0 and gain[1] <= 0 and gain[2] > case.claim.get("tolerance", 0) > 0
        finding += "; too few images to tell" if open_ended else ""
        rows.append(case.row(best, budget, case.than, gain, gain[1] > 0 or open_ended, finding))
    return rows


def _larger_gain_at(case: Case) -> list[dict]:
    """The gain over `than` at one end of the budgets (`at`: shortest or longest) exceeds that at the other end.

    The difference of the two differences is taken image by image, so that its interval is of paired values.
    """
    budgets = [label for label in case.budgets if label in case.design.budgets_of(case.than)]
    rows: list[dict] = []
    if len(budgets) < min(2, len(case.design.budgets)):
        return rows  # the two methods share one budget of several
    ends = (budgets[0], budgets[-1]) if case.claim["at"] == "shortest" else (budgets[-1], budgets[0])
    gains = case.gains()
    here, there = (gains[gains["budget"] == budget] for budget in ends)
    found = case.intervals(_difference(here, there, ["metric"]), ["metric"])
    for name in case.metrics:
        metric = case.design.metrics[name]
        both = case.means.loc[[(one, name, budget) for one in (case.method, case.than) for budget in ends]]
        excess, finding = NOTHING, GAP
        if both.notna().all():
            excess = _signed(found, name, metric)
            steps = [both[(case.method, name, budget)] - both[(case.than, name, budget)] for budget in ends]
            finding = " against ".join(
                f"{number(step, metric)} at {case.design.budget(budget).title}"
                for step, budget in zip(steps, ends, strict=True)
            )
            finding += f"; excess {_interval_text(excess, metric)}"
        rows.append(case.row(name, "", case.than, excess, len(budgets) > 1 and excess[1] > 0, finding))
    return rows


def _differs_from_stimulus(case: Case) -> list[dict]:
    """No picture equals its stimulus: no pixel correlation is 1."""
    rows = []
    for name in case.metrics:
        values = case.of(case.method).loc[lambda table: table["metric"] == name, "value"]  # noqa: B023
        equal = int((values >= EQUAL).sum())
        finding = f"{equal:,} of {len(values):,} pictures equal their stimulus" if len(values) else GAP
        rows.append(case.row(name, "", "stimulus", NOTHING, len(values) > 0 and not equal, finding))
    return rows


TESTS: dict[str, Callable[[Case], list[dict]]] = {
    "rises": _rises,
    "does_not_fall": _does_not_fall,
    "at_chance": _at_chance,
    "no_better_than_chance": _at_chance,
    "beats": _beats,
    "beats_in_some_metric": _beats_in_some_metric,
    "larger_gain_at": _larger_gain_at,
    "differs_from_stimulus": _differs_from_stimulus,
}


def verdicts(tested: pd.DataFrame) -> pd.DataFrame:
    """One row a claim: kind, claim, met (only when every tested row of it is), n_met, n_rows (tested), n_untested,
    word, source, note.

    word: of a check holds or FAILS; of a finding seen, "in part" or "not seen"; NOT_TESTED, and not met, where no row
    is tested. In the order of the claims.
    """
    filled = tested.fillna({"source": "", "note": ""}).astype({"met": bool, "tested": bool})
    filled = filled.assign(open=~filled["met"] & filled["tested"])
    grouped = filled.groupby(["kind", "claim", "source", "note"], sort=False)
    found = grouped.agg(
        open=("open", "any"), n_met=("met", "sum"), n_rows=("tested", "sum"), n_all=("tested", "size")
    ).reset_index()
    found = found.assign(met=~found["open"] & (found["n_rows"] > 0), n_untested=found["n_all"] - found["n_rows"])
    words = [VERDICTS[kind][not met] for kind, met in zip(found["kind"], found["met"], strict=True)]
    partly = (found["kind"] == FINDING) & ~found["met"] & (found["n_met"] > 0)
    words = np.where(partly, "in part", words)
    return found.assign(word=np.where(found["n_rows"] > 0, words, NOT_TESTED)).drop(columns=["open", "n_all"])


def counted(verdict) -> str:
    """ "3 of 4 tests, 2 not tested". verdict: a row of `verdicts`."""
    untested = f"{verdict.n_untested} {NOT_TESTED}" if verdict.n_untested else ""
    tests = f"{verdict.n_met} of {verdict.n_rows} tests" if verdict.n_rows else ""
    return ", ".join(filter(None, [tests, untested]))


def method_title(row, design: Design) -> str:
    """The title of the method of a row, or of all methods that it is about."""
    return design.methods[row.method]["title"] if row.method in design.methods else "All methods together"


def word_of(row) -> str:
    """The verdict of one row of `judge_claims`."""
    return VERDICTS[row.kind][not row.met] if row.tested else NOT_TESTED


def claims_tables(tested: pd.DataFrame, design: Design) -> list[Table]:
    """The checks and the published findings as pages: one row for each method, metric and budget of each claim."""
    return [
        _claims_table(tested, design, kind)
        for kind in (CHECK, FINDING)
        if kind == CHECK or (tested["kind"] == kind).any()
    ]


def _claims_table(tested: pd.DataFrame, design: Design, kind: str) -> Table:
    rows, previous = [], ["", "", ""]
    for row in tested[tested["kind"] == kind].itertuples():
        names = [row.claim, method_title(row, design), design.metrics[row.metric]["title"]]
        # A name is printed once for all the rows below it.
        first = next((n for n in range(3) if names[n] != previous[n]), 3)
        heads = ["" if n < first else name for n, name in enumerate(names)]
        budget = design.budget(row.budget).title if row.budget else "all budgets"
        told = (row.note if kind == CHECK else f"{row.source}. {row.note}") if first == 0 else ""
        cells = [Cell(word_of(row)), Cell(row.finding), Cell(told)]
        rows.append(Row([*heads, budget], cells, first == 0 and bool(rows)))
        previous = names
    note = (
        f"Differences are paired by image, subject and seed; intervals are {100 * design.confidence:g} % bootstrap "
        f"intervals over images (checks: Bonferroni-corrected). Split {design.split}, {design.data}."
    )
    heads = ["Check" if kind == CHECK else "Finding", "Method", "Metric", "Trained on"]
    title, last = ("Checks", "If it fails") if kind == CHECK else ("Published findings", "Published in; otherwise")
    return Table(title, heads, [Column("Verdict"), Column("Result"), Column(last)], rows, note)
