"""Claims: what config/claims.yaml expects of a study, tested on its Scores and reported as met or not met."""

import pandas as pd

from fmri2img.errors import UserError
from fmri2img.reporting.design import GAP, Design, is_of_whole_set, is_scored, matching, number
from fmri2img.reporting.estimates import at_budgets, intervals
from fmri2img.reporting.tables import Cell, Column, Row, Table

COLUMNS = ["claim", "method", "metric", "budget", "reference", "mean", "low", "high", "met", "finding"]


def judge_claims(claims: list[dict], scores: pd.DataFrame, cells: pd.DataFrame, design: Design) -> pd.DataFrame:
    """One row for every claim, method, metric and budget that the design has.

    cells: `estimates(scores, design)`. Columns: claim, method, metric, budget ("" where the claim spans them),
    reference (what it is compared with), mean, low, high (of the difference or of the mean), met, finding (text).
    A claim about cells without a full set of scores is not met. Claims whose methods or metrics the study lacks give
    no row, and neither do metrics of the whole set, which have no interval to judge by.
    Raises UserError for an unknown test.
    """
    tests = {
        "rises": _rises, "at_chance": _at_chance, "no_better_than_chance": _at_chance, "beats": _beats,
        "larger_gain_at": _larger_gain_at,
    }  # fmt: skip
    rows = []
    for claim in claims:
        if claim["test"] not in tests:
            raise UserError(f"config/claims.yaml: key 'test': unknown '{claim['test']}'; tests: {', '.join(tests)}")
        named = claim["methods"]
        methods = [m for m, entry in design.methods.items() if named in (m, entry["kind"])]
        if claim.get("than", named) not in design.methods and "than" in claim:
            continue
        metrics = matching(design.metrics, claim["metrics"])
        labelled = at_budgets(scores, design)
        for method in methods:
            compared = [design.methods[name] for name in (method, claim.get("than", method))]
            able = [
                name
                for name in metrics
                if not is_of_whole_set(design.metrics[name])
                and all(is_scored(entry, design.metrics[name]) for entry in compared)
            ]
            if able:
                rows += tests[claim["test"]](claim, [method], able, labelled, cells, design)
    return pd.DataFrame(rows, columns=COLUMNS)


def _difference(better: pd.DataFrame, worse: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Scores whose value is `better` minus `worse`, paired by `keys`, subject, seed and image."""
    keys = [*keys, "subject", "seed", "image_id"]
    pairs = better.merge(worse[[*keys, "value"]], on=keys, suffixes=("", "_worse"), validate="one_to_one")
    return pairs.assign(value=pairs["value"] - pairs["value_worse"]).drop(columns="value_worse")


def _row(claim: dict, key: tuple, reference: str, interval, met: bool, finding: str) -> dict:
    mean, low, high = interval
    names = dict(zip(("method", "metric", "budget"), key, strict=True))
    return names | {
        "claim": claim["claim"], "reference": reference, "mean": mean, "low": low, "high": high, "met": bool(met),
        "finding": finding,
    }  # fmt: skip


def _signed(found: pd.DataFrame, key, metric: dict) -> tuple[float, float, float]:
    """mean, low, high of a difference, counted positive where it is an improvement."""
    if key not in found.index:
        return float("nan"), float("nan"), float("nan")
    mean, low, high = found.loc[key, ["mean", "low", "high"]]
    return (mean, low, high) if metric["higher_is_better"] else (-mean, -high, -low)


def _interval_text(values, metric: dict) -> str:
    mean, low, high = (number(value, metric) for value in values)
    return f"{mean} [{low}, {high}]"


def _rises(claim, methods, metrics, labelled, cells, design: Design) -> list[dict]:
    budgets = sorted(design.budgets, key=lambda label: sum(design.budgets[label].values()))
    first, last = (labelled[labelled["budget"] == budget] for budget in (budgets[0], budgets[-1]))
    paired = _difference(last, first, ["method", "metric"])
    found = intervals(paired, ["method", "metric"], design) if len(paired) else pd.DataFrame()
    means = cells.set_index(["method", "metric", "budget"])["mean"]
    rows = []
    for method in methods:
        for name in metrics:
            metric = design.metrics[name]
            steps = means.loc[[(method, name, budget) for budget in budgets]].to_numpy()
            whole = not pd.isna(steps).any()
            gain = _signed(found, (method, name), metric)
            better = (steps[1:] > steps[:-1]) if metric["higher_is_better"] else (steps[1:] < steps[:-1])
            finding = " → ".join(number(step, metric) for step in steps)
            if whole:
                finding += f"; last − first {_interval_text(gain, metric)}"
            met = whole and len(budgets) > 1 and better.all() and gain[1] > 0
            rows.append(_row(claim, (method, name, ""), f"{budgets[0]} sessions", gain, met, finding))
    return rows


def _at_chance(claim, methods, metrics, labelled, cells, design: Design) -> list[dict]:
    metrics = [name for name in metrics if design.metrics[name]["chance"] is not None]
    chosen = labelled[labelled["method"].isin(methods) & labelled["metric"].isin(metrics)]
    n_tests = len(methods) * len(metrics) * len(design.budgets)
    confidence = 1 - (1 - design.confidence) / max(n_tests, 1)
    keys = ["method", "metric", "budget"]
    found = intervals(chosen, keys, design, confidence) if len(chosen) else pd.DataFrame()
    means = cells.set_index(keys)["mean"]
    rows = []
    for method in methods:
        for name in metrics:
            metric = design.metrics[name]
            for budget in design.budgets:
                key = (method, name, budget)
                if pd.isna(means.loc[key]):
                    rows.append(_row(claim, key, "chance", (float("nan"),) * 3, False, GAP))
                    continue
                mean, low, high = found.loc[key, ["mean", "low", "high"]]
                slack = claim["tolerance"] * metric["chance"]
                met = low <= metric["chance"] + slack
                if claim["test"] == "at_chance":
                    met = met and high >= metric["chance"] - slack
                rows.append(
                    _row(claim, key, "chance", (mean, low, high), met, _interval_text((mean, low, high), metric))
                )
    return rows


def _beats(claim, methods, metrics, labelled, cells, design: Design) -> list[dict]:
    than = claim["than"]
    means = cells.set_index(["method", "metric", "budget"])["mean"]
    rows = []
    for method in methods:
        pair = labelled[labelled["method"] == method], labelled[labelled["method"] == than]
        paired = _difference(*pair, ["metric", "budget"])
        found = intervals(paired, ["metric", "budget"], design) if len(paired) else pd.DataFrame()
        for name in metrics:
            metric = design.metrics[name]
            for budget in _claimed_budgets(claim, design):
                both = means.loc[[(method, name, budget), (than, name, budget)]]
                gain = _signed(found, (name, budget), metric)
                finding = f"{'+' if gain[0] > 0 else ''}{_interval_text(gain, metric)}" if both.notna().all() else GAP
                met = both.notna().all() and gain[1] > 0
                rows.append(_row(claim, (method, name, budget), than, gain, met, finding))
    return rows


def _claimed_budgets(claim: dict, design: Design) -> list[str]:
    """Labels of the budgets a claim is about: those of its key `budgets` that the study has, or all."""
    asked = [str(budget) for budget in claim.get("budgets", design.budgets)]
    return [budget for budget in design.budgets if budget in asked]


def _larger_gain_at(claim, methods, metrics, labelled, cells, design: Design) -> list[dict]:
    """The gain over `than` at one end of the budgets (`at`: shortest or longest) exceeds that at the other end.

    The difference of the two differences is taken image by image, so that its interval is of paired values.
    """
    if claim["at"] not in ("shortest", "longest"):
        raise UserError(f"config/claims.yaml: key 'at': '{claim['at']}'; use shortest or longest")
    budgets = sorted(design.budgets, key=lambda label: sum(design.budgets[label].values()))
    ends = (budgets[0], budgets[-1]) if claim["at"] == "shortest" else (budgets[-1], budgets[0])
    than, means = claim["than"], cells.set_index(["method", "metric", "budget"])["mean"]
    rows = []
    for method in methods:
        pair = labelled[labelled["method"] == method], labelled[labelled["method"] == than]
        gains = _difference(*pair, ["metric", "budget"])
        here, there = (gains[gains["budget"] == budget] for budget in ends)
        paired = _difference(here, there, ["metric"])
        found = intervals(paired, ["metric"], design) if len(paired) else pd.DataFrame()
        for name in metrics:
            metric = design.metrics[name]
            both = means.loc[[(m, name, budget) for m in (method, than) for budget in ends]]
            excess, finding = (float("nan"),) * 3, GAP
            if both.notna().all():
                excess = _signed(found, name, metric)
                steps = [both[(method, name, budget)] - both[(than, name, budget)] for budget in ends]
                finding = " against ".join(
                    f"{number(step, metric)} at {design.budget(budget).title}"
                    for step, budget in zip(steps, ends, strict=True)
                )
                finding += f"; excess {_interval_text(excess, metric)}"
            met = len(budgets) > 1 and excess[1] > 0
            rows.append(_row(claim, (method, name, ""), than, excess, met, finding))
    return rows


def verdicts(tested: pd.DataFrame) -> pd.DataFrame:
    """One row a claim: claim, met (only when every row of it is), n_met, n_rows; in the order of the claims."""
    grouped = tested.groupby("claim", sort=False)["met"]
    return grouped.agg(met="all", n_met="sum", n_rows="size").reset_index()


def claims_table(tested: pd.DataFrame, design: Design) -> Table:
    """The claims as a page: one row for each method, metric and budget of each claim."""
    rows, previous = [], ["", "", ""]
    for row in tested.itertuples():
        names = [row.claim, design.methods[row.method]["title"], design.metrics[row.metric]["title"]]
        # A name is printed once for all the rows below it.
        first = next((n for n in range(3) if names[n] != previous[n]), 3)
        heads = ["" if n < first else name for n, name in enumerate(names)]
        budget = design.budget(row.budget).title if row.budget else "all budgets"
        cells = [Cell("met" if row.met else "NOT MET"), Cell(row.finding)]
        rows.append(Row([*heads, budget], cells, first == 0 and bool(rows)))
        previous = names
    note = (
        f"Differences are paired by image, subject and seed; intervals are {100 * design.confidence:g} % bootstrap "
        f"intervals over images (claims about chance: Bonferroni-corrected). Split {design.split}, {design.data}."
    )
    heads = ["Claim", "Method", "Metric", "Trained on"]
    return Table("Expected results", heads, [Column("Verdict"), Column("Result")], rows, note)
