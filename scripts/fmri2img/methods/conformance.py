"""Rules for every method's folder: its declarations exist, and its outputs can be scored and beat its floor."""

import importlib
from pathlib import Path

import pandas as pd
import yaml

from fmri2img import plugins
from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.scores import read_scores


def check_declared(folder: Path, entries: dict[str, dict]) -> list[str]:
    """Names in the folder's entries that do not exist, one line each."""
    problems = []
    if not entries:
        problems.append(f"{folder / 'method.yaml'}: declares no method of its own")
    named = {entry["decode"] for entry in entries.values() if "decode" in entry}
    named |= {task for entry in entries.values() for task in entry.get("task", {}).values()}
    named |= {entry["made_by"]["function"] for entry in entries.values() if "made_by" in entry}
    named |= {entry["drawing"]["function"] for entry in entries.values() if "drawing" in entry}
    for name in sorted(named):
        module, _, member = name.partition(":")
        try:
            if not hasattr(importlib.import_module(module), member):
                problems.append(f"{folder}: module {module} has no '{member}', which method.yaml names; add it")
        except Exception as error:  # whatever an author's module raises
            problems.append(f"{folder}: module {module} cannot be imported ({type(error).__name__}: {error})")
    return problems


def check_scores(results: Path, entries: dict[str, dict]) -> list[str]:
    """Problems of these methods' predictions and scores in a finished study, one line each."""
    problems = []
    for name, entry in entries.items():
        predictions = [Prediction.open(path.parent) for path in results.glob(f"predictions/{name}/**/ids.npy")]
        if not predictions:
            problems.append(f"{name}: made no prediction; check `outputs` and `drawing`")
            continue
        for output in entry["outputs"]:
            if getattr(predictions[0], output) is None:
                problems.append(f"{name}: `outputs` lists {output}, but the prediction holds none; correct one of them")
    problems += _below_floor(results, entries)
    return problems


def _below_floor(results: Path, entries: dict[str, dict]) -> list[str]:
    """Methods whose mean is not better than that of their own floor in any metric of retrieval, identification or
    captions."""
    problems = []
    for floor, entry in entries.items():
        if "floor" not in entry.get("scale", {}) or entry.get("of") not in entries:
            continue
        means = [_means(results, name) for name in (entry["of"], floor)]
        if not any(means[0][metric] > means[1].get(metric, 1) for metric in means[0].index):
            problems.append(f"{entry['of']}: does not beat {floor} in any of {', '.join(means[0].index)}")
    return problems


def _means(results: Path, method: str) -> pd.Series:
    table = read_scores(results / "scores" / f"{method}.parquet")
    chosen = table[table["metric"].str.contains("retrieval|identification|caption")]
    return chosen.groupby("metric")["value"].mean()


def expected_scores() -> dict[str, dict[str, list[float]]]:
    """Method -> metric -> [mean score on the demo, tolerance], from expected.yaml of the folders that have one."""
    found: dict[str, dict[str, list[float]]] = {}
    for folder in plugins.folders("methods").values():
        file = folder / "expected.yaml"
        if file.is_file():
            found |= yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


def check_expected(table: pd.DataFrame, expected: dict[str, dict[str, list[float]]]) -> tuple[int, list[str]]:
    """How many expected means were compared, and those that differ by more than their tolerance, a line each.

    table: Scores of the demo; expected: as `expected_scores` gives them.
    """
    problems = []
    means = table.groupby(["method", "metric"])["value"].mean()
    wanted = [(method, metric, pair) for method, metrics in expected.items() for metric, pair in metrics.items()]
    for method, metric, (value, tolerance) in wanted:
        found = float(means.get((method, metric), float("nan")))
        if not abs(found - value) <= tolerance:
            problems.append(f"{method}: {metric} is {found:.4f}, expected {value:g} within {tolerance:g}")
    return len(wanted), problems
