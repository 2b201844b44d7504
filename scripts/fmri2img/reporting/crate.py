"""The run as an RO-Crate: which files a study's folder holds, and which workflow made them from what.

Profile: Workflow Run Crate 0.5 (https://w3id.org/ro/wfrun/workflow/0.5), which builds on Process Run Crate 0.5 and
Workflow RO-Crate 1.0. The crate's root is results/<study>.
"""

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from rocrate.model import ContextEntity
from rocrate.rocrate import ROCrate

from fmri2img import integrity

RO_CRATE, RUN = "1.1", "0.5"  # versions of RO-Crate and of the run profiles
TERMS = "https://w3id.org/ro/terms/workflow-run/context"
PROFILES = {
    f"https://w3id.org/ro/wfrun/process/{RUN}": ("Process Run Crate", RUN),
    f"https://w3id.org/ro/wfrun/workflow/{RUN}": ("Workflow Run Crate", RUN),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
FORMATS = {
    ".html": "text/html", ".csv": "text/csv", ".md": "text/markdown", ".tex": "application/x-tex",
    ".json": "application/json", ".yaml": "application/yaml", ".svg": "image/svg+xml", ".png": "image/png",
    ".rst": "text/x-rst", ".parquet": "application/vnd.apache.parquet",
}  # fmt: skip
ADDRESS = r"https?://[^\s<>\"{}|\\^`]+"
PARAMETERS = ("subjects", "sessions", "seeds", "methods", "metrics", "split", "encoder", "generator")


def run_crate(
    root: Path,
    workflow: list[str],
    made: list[str],
    sources: dict[str, str],
    config: dict,
    citation: dict,
    snakemake: str,
    simulated: bool,
    licence: dict,
    versions: dict[str, str],
    started: str | None = None,
    failed: str = "",
) -> dict:
    """The metadata of the crate, as JSON-LD.

    root: results/<study>, which must hold everything named. workflow, made: paths below it of the workflow's own files
    (the first is the main one) and of what the run made; directories are listed as a whole. sources: name -> SHA-256
    of the files the data were made from. citation: of CITATION.cff. snakemake: version of Snakemake. licence: name, url
    and note, of the dataset. versions: name -> version of the packages that the jobs imported; started: when the first
    of them did; failed: what is missing because jobs failed. Raises UserError for a file that is not as it was written.
    """
    crate = ROCrate(version=RO_CRATE)
    crate.metadata.extra_contexts.append(TERMS)
    finished = _finished(root, made)
    crate.name = f"fMRI-to-image decoding, study {config['study']}"
    crate.description = (
        f"Scores, tables, figures and reconstructions of {len(config['methods'])} methods that decode images from "
        f"{'simulated ' if simulated else ''}fMRI, as the workflow fmri2img made them."
    )
    crate.datePublished = finished
    terms = licence["url"] if re.fullmatch(ADDRESS, licence["url"]) else _named("licence", licence["name"])
    crate.license = _about(crate, terms, "CreativeWork", name=licence["name"], description=licence["note"])
    crate.root_dataset["conformsTo"] = [
        _about(crate, profile, "CreativeWork", name=title, version=version)
        for profile, (title, version) in PROFILES.items()
    ]

    properties = _file_facts(root, workflow[0]) | {
        "name": "fmri2img",
        "version": citation["version"],
        "conformsTo": {"@id": "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"},
    }
    main = crate.add_workflow(
        root / workflow[0], workflow[0], properties=properties, main=True, lang="snakemake", lang_version=snakemake
    )
    for author in citation["authors"]:
        main.append_to(
            "creator",
            _about(crate, _named("author", author["name"]), "Organization", name=author["name"]),
            compact=True,
        )
    main["hasPart"] = [_data(crate, root, path) for path in workflow[1:]]
    results = [_data(crate, root, path) for path in made]
    configuration = next(entity for entity in results if entity.id == "config.yaml")
    parameters = [_parameter(crate, main, key, config[key]) for key in PARAMETERS]
    main["softwareRequirements"] = [_package(crate, *item) for item in versions.items()]
    objects = [configuration, *parameters, *(_source(crate, *item) for item in sources.items())]
    run = _about(
        crate,
        "#run",
        "CreateAction",
        name=f"Run of study {config['study']}",
        description="All jobs of the study, from its data to its page; benchmarks/ holds their time and memory, "
        "tables/jobs.csv where and with which versions each of them ran.",
        endTime=finished,
        actionStatus=f"http://schema.org/{'Failed' if failed else 'Completed'}ActionStatus",
        **({"startTime": started} if started else {}),
        **({"error": failed} if failed else {}),
    )
    run["instrument"], run["object"] = main, objects
    run["result"] = [entity for entity in results if entity is not configuration]
    crate.root_dataset["mentions"] = run
    return crate.metadata.generate()


def _about(crate: ROCrate, identifier: str, kind: str, **properties) -> ContextEntity:
    return crate.add(ContextEntity(crate, identifier, properties={"@type": kind, **properties}))


def _named(kind: str, name: str) -> str:
    """The identifier, within the crate, of what has a name that may hold any text."""
    return f"#{kind}-{quote(name, safe='')}"


def _data(crate: ROCrate, root: Path, path: str):
    """An entity for a file, with its size, format and SHA-256, or for a directory."""
    if (root / path).is_dir():
        return crate.add_dataset(root / path, path, properties={"name": path})
    return crate.add_file(root / path, path, properties=_file_facts(root, path))


def _file_facts(root: Path, path: str) -> dict[str, str]:
    integrity.check(root / path)
    content = (root / path).read_bytes()
    return {
        "name": path,
        "contentSize": str(len(content)),
        "encodingFormat": FORMATS.get(Path(path).suffix, "text/plain"),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _parameter(crate: ROCrate, workflow, key: str, value) -> ContextEntity:
    """A value of the configuration, and the parameter of the workflow that it is of."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    formal = _about(
        crate, _named("parameter", key), "FormalParameter", name=key, additionalType="Text", valueRequired=True,
        conformsTo={"@id": "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"},
    )  # fmt: skip
    given = _about(crate, _named("value", key), "PropertyValue", name=key, value=text, exampleOfWork={"@id": formal.id})
    formal["workExample"] = given
    workflow.append_to("input", formal)
    return given


def _package(crate: ROCrate, name: str, version: str) -> ContextEntity:
    """A package that jobs imported; where they differ, `version` has all versions with how many jobs each."""
    return _about(crate, _named("package", name), "SoftwareApplication", name=name, version=version)


def _source(crate: ROCrate, name: str, sha256: str) -> ContextEntity:
    """A file the data were made from, which is not in the crate."""
    return _about(crate, _named("source", name), "CreativeWork", name=name, sha256=sha256)


def _finished(root: Path, made: list[str]) -> str:
    """When the last of the files was written (ISO 8601, UTC)."""
    latest = max((root / path).stat().st_mtime for path in made)
    return datetime.fromtimestamp(int(latest), UTC).isoformat()
