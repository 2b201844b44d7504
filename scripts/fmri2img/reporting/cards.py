"""Method cards: description, size, training and settings of each method of a study."""

import importlib
from collections.abc import Callable

import pandas as pd

from fmri2img.backbones.registry import BROUGHT, Backbone
from fmri2img.reporting.design import GAP
from fmri2img.reporting.tables import Cell, Column, Row, Table
from fmri2img.reporting.trained_runs import PRETRAINING, TrainedRun
from fmri2img.reporting.training_data import networks_of, trained_on

TRAINING_KEYS = (
    "epochs", "batch", "accumulation", "optimiser", "learning_rate", "weight_decay", "schedule", "warmup_epochs",
    "schedule_stepping", "precision", "clip",
)  # fmt: skip


def card_of(entry: dict) -> Callable[[dict, bool, list[dict]], dict] | None:
    """The function that describes a method's own design, given its registry entry; None where it has none.

    It is called with the study's configuration, whether the method's network is a published one, and config.json of
    each of its trained networks, pretrainings left out. It returns

        network         item -> text: parts of these networks and their sizes; empty without networks
        deviations      item -> text: in what the method differs from the published one
        epoch           what the method's training counts as an epoch
        known_defects   table, one row per defect of the method's released code: name, key (the switch), released,
                        correct, here (three values of the switch), reproduced (yes, no or GAP), effect; all text
    """
    if "card" not in entry:
        return None
    module, _, function = entry["card"].partition(":")
    return getattr(importlib.import_module(module), function)


def value_at(config: dict, key: str):
    """The value of a dotted key, None where there is none; "dataset.a" is key a of the dataset's own section."""
    value = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
        if value is config.get("dataset") and part == "dataset":
            value = config.get(value)
    return value


def card_facts(study, method: str, runs: list[TrainedRun], own: dict) -> pd.DataFrame:
    """section, item, value (text) of everything on a card except the runs' numbers and the known defects.

    own: what the method's card function returns (card_of); empty where there is none.
    """
    registry = study.registries["methods"]
    entry = registry[method]
    rows = [("method", key, entry[key]) for key in ("title", "kind", "origin")]
    rows.append(("method", "what it does", entry["sentence"]))
    if "of" in entry:
        rows.append(("method", "builds on", registry[entry["of"]]["title"]))
    rows += [("method", "reference", entry["reference"]), ("method", "implemented in", entry["module"])]
    rows += [("deviation", *fact) for fact in own.get("deviations", {}).items()]
    if runs:
        rows += [("network", *fact) for fact in own.get("network", {}).items()]
        rows += _training_facts({run.stage: run for run in reversed(runs)}, own)
    backbones = study.registries["backbones"]
    rows += _network_data(study, method)
    if "released" in entry:
        rows += _published_networks(study, method)
    for key in entry["configured_by"]:
        for item, value in _flat(key, value_at(study.config, key)):
            if isinstance(value, str) and value in backbones:
                value = f"{value}, {_origin(value, backbones)}"
            rows.append(("settings", item, value))
    return pd.DataFrame([(*row[:2], _text(row[2])) for row in rows], columns=["section", "item", "value"])


def _network_data(study, method: str) -> list[tuple]:
    """On what the frozen networks were trained: those whose outputs are decoded, and those that draw or describe; and
    which of them may have seen the dataset's pictures."""
    backbones = study.registries["backbones"]
    rows = []
    for role, names in networks_of(study, method).items():
        texts = [f"{_named(name, backbones)}: {backbones[name]['trained_on']}" for name in names]
        rows.append(("networks", f"{role} data", "; ".join(texts)))
    for source, collections in study.dataset.image_sources.items():
        seen, unknown = trained_on(study, method, collections)
        texts = [*seen, *(f"{name} (not published)" for name in unknown if collections)]
        if texts:
            rows.append(("networks", f"may have seen pictures of {source}", ", ".join(texts)))
    return rows


def _origin(name: str, backbones: dict) -> str:
    """Which version of a network, or that the dataset brings its outputs, whose metadata say more."""
    brought = backbones[name]["kind"] == BROUGHT
    return "which the dataset brings" if brought else f"revision {Backbone(name, backbones[name]).revision}"


def _named(name: str, backbones: dict) -> str:
    """A network's name; with a title where a dataset brings its outputs, as config/backbones.yaml has nothing on it."""
    return f"{name} ({backbones[name]['title']})" if "title" in backbones[name] else name


def _published_networks(study, method: str) -> list[tuple]:
    rows = []
    decoder = study.registries["methods"][method]["decoder"]
    for subject in study.subjects:
        for sessions in study.budgets_of(method, subject):
            name = study.released_network(decoder, subject, sessions)
            backbone = Backbone(name, study.registries["backbones"][name])
            text = f"{name}, {', '.join(backbone.record['files'])}, revision {backbone.revision}"
            rows.append(("network", f"{subject}, {sessions:g} session{'' if sessions == 1 else 's'}", text))
    return rows


def _training_facts(stages: dict[str, TrainedRun], own: dict) -> list[tuple]:
    """Facts of each stage's first run, once where all stages agree."""
    of_stage = {stage: _run_facts(run, own) for stage, run in sorted(stages.items(), reverse=True)}
    facts = [("training", "stages", ", then ".join(of_stage))]
    for item in next(iter(of_stage.values())):
        values = {stage: _text(found[item]) for stage, found in of_stage.items()}
        same = len(set(values.values())) == 1
        text = next(iter(values.values())) if same else "; ".join(f"{stage} {value}" for stage, value in values.items())
        facts.append(("training", item, text))
    return facts


def _run_facts(run: TrainedRun, own: dict) -> dict[str, object]:
    training, losses = run.training["config"]["training"], run.config["metadata"].get("losses", {})
    return {
        **{key.replace("_", " "): training[key] for key in TRAINING_KEYS},
        "processes": run.training["processes"],
        **({"an epoch": own["epoch"]} if "epoch" in own else {}),
        **{f"loss: {key.replace('_', ' ')}": losses[key] for key in losses},
        "device": f"{run.training['device']} ({run.training['device_name']})",
        "libraries": ", ".join(f"{name} {version}" for name, version in run.training["versions"].items()),
    }


def _flat(key: str, value) -> list[tuple]:
    if isinstance(value, dict):
        return [pair for name, inner in value.items() for pair in _flat(f"{key}.{name}", inner)]
    return [(key, value)]


def _text(value) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def facts_table(facts: pd.DataFrame) -> Table:
    """A card's facts as a page, with a line between sections."""
    rows, previous = [], None
    for row in facts.itertuples():
        new = row.section != previous
        rows.append(Row([row.section if new else "", row.item], [Cell(row.value)], new and bool(rows)))
        previous = row.section
    title = facts.set_index(["section", "item"])["value"]["method", "title"]
    note = "Training facts are those of the first run of each stage; all of its runs were configured alike."
    trained = (facts["section"] == "training").any()
    return Table(f"Method card: {title}", ["", ""], [Column("")], rows, note if trained else "")


def runs_table(runs: list[TrainedRun]) -> Table:
    """Trials, images, cost and last validation of each stage, subject and budget; a range spans seeds."""
    groups: dict[tuple, list[dict]] = {}
    for run in runs:
        sessions = ", ".join(f"{value:.3g}" for value in dict.fromkeys(run.sessions.values()))
        groups.setdefault((run.stage, ", ".join(run.sessions), sessions), []).append(run.values)
    names = list(dict.fromkeys(name for found in groups.values() for record in found for name in record))
    rows, previous = [], None
    for heads, found in groups.items():
        values = [[record[name] for record in found if name in record] for name in names]
        cells = [Cell(_run_text(name, numbers)) for name, numbers in zip(names, values, strict=True)]
        rows.append(Row(list(heads), cells, previous not in (None, heads[0])))
        previous = heads[0]
    columns = [Column(name.replace("_", " ").capitalize(), "%" if _share(name) else "") for name in names]
    note = (
        "Trials and images are those trained on. Validation is retrieval among training images that were held out with "
        "all their trials; no test image is seen, and nothing is chosen by it. Ranges span seeds."
    )
    return Table("Trainings", ["Stage", "Subjects", "Sessions"], columns, rows, note)


def _share(name: str) -> bool:
    return name.startswith("retrieval") or name == "chance"


def _run_text(name: str, numbers: list) -> str:
    if not numbers:
        return GAP
    if _share(name):
        texts = [f"{100 * value:.1f}" for value in (min(numbers), max(numbers))]
    elif name == "seconds":
        texts = [f"{value:,.0f}" for value in (min(numbers), max(numbers))]
    else:
        texts = [f"{value:,}" for value in (min(numbers), max(numbers))]
    return "–".join(dict.fromkeys(texts))


def _is_released(registry: dict, method: str) -> bool:
    """Whether a method's network, or that of the decoder it builds on, is a published one."""
    entry = registry[method]
    return "released" in entry or ("of" in entry and _is_released(registry, entry["of"]))


def defects_table(defects: pd.DataFrame) -> Table:
    """Known defects of the released code, and which of them the study reproduces."""
    shown = defects.assign(key=defects["key"].str.replace(".", ": "))  # a long key can break into lines only at spaces
    rows = [
        Row([row.name], [Cell(getattr(row, key)) for key in ("key", "released", "here", "reproduced", "effect")], False)
        for row in shown.itertuples(index=False)
    ]
    columns = [Column(title) for title in ("Switch", "Released code", "This study", "Reproduced", "Effect")]
    note = f"{GAP}: the study uses neither the released value nor the correct one."
    return Table("Known defects of the released code", ["Defect"], columns, rows, note)


def card(study, method: str, runs: list[TrainedRun], failed: str = "") -> tuple[list[Table], pd.DataFrame]:
    """The tables of a card, and the same as tidy facts (section, item, value).

    runs: of this method's network; failed: why the study lacks scores of the method.
    """
    registry = study.registries["methods"]
    describe = card_of(registry[method])
    networks = [run.config for run in runs if run.stage != PRETRAINING]
    own = describe(study.config, _is_released(registry, method), networks) if describe else {}
    facts = card_facts(study, method, runs, own)
    if failed:
        missing = pd.DataFrame([("missing", "in this study", failed)], columns=list(facts))
        facts = pd.concat([facts, missing], ignore_index=True)
    tables, parts = [facts_table(facts)], [facts]
    if runs:
        tables.append(runs_table(runs))
        for run in runs:
            sessions = _text(list(run.sessions.values()))
            section = f"{run.stage} of {', '.join(run.sessions)}, {sessions} sessions, seed {run.seed}"
            numbers = run.values
            parts.append(
                pd.DataFrame({"section": section, "item": numbers.keys(), "value": map(str, numbers.values())})
            )
    if "known_defects" in own:
        defects = own["known_defects"]
        tables.append(defects_table(defects))
        long = defects.assign(name="known defect: " + defects["name"]).set_index("name").stack().reset_index()
        parts.append(long.set_axis(list(facts), axis=1))
    return tables, pd.concat(parts, ignore_index=True)
