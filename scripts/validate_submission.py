"""Check a submission, and score it: python scripts/validate_submission.py FOLDER [--configfile config/paper.yaml]

Each problem is reported in one line. A submission without problems is scored in the given study, by default the demo.
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

import pandas as pd

from fmri2img import runs
from fmri2img.artifacts.prediction import Prediction
from fmri2img.artifacts.scores import read_scores
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.artifacts.test_images import TestImages
from fmri2img.errors import UserError
from fmri2img.job import enable_plugins
from fmri2img.methods.registry import read_methods
from fmri2img.paths import expanded
from fmri2img.reporting.chances import pool_chances
from fmri2img.reporting.picture_suspicions import suspicions_of_pictures
from fmri2img.reporting.suspicions import suspicions
from fmri2img.settings.files import read_files
from fmri2img.study import Study
from fmri2img.submissions.checks import check_submission


def name_of(path: Path, taken: list[str]) -> str:
    """A method's name made from that of the folder or file, different from all registered methods."""
    name = re.sub(r"[^a-z0-9]+", "_", path.resolve().stem.lower()).strip("_")
    return name if name[:1].isalpha() and name not in taken else f"submitted_{name}"


def study_of(configfiles: list[Path], path: Path) -> Study:
    """The study of these configuration files, on top of the default one, with only this submission."""
    config = read_files(configfiles)
    enable_plugins(config)
    return Study(config | {"submissions": {name_of(path, list(read_methods())): {"path": str(path)}}})


def make(study: Study, configfiles: list[Path], targets: list[str]) -> None:
    """Have Snakemake make the targets. Raises UserError when it fails, after Snakemake's own messages."""
    command = [*targets, "--quiet", "rules", "host", "--show-failed-logs", "--cores", str(os.cpu_count() or 1)]
    command += ["--config", f"submissions={json.dumps(study.config['submissions'])}"]
    command += ["--configfile", *map(str, configfiles)] if configfiles else []
    if runs.status(runs.snakemake(command)):
        raise UserError(f"study {study.name}: could not make {targets[0]}; see the messages above")


def problems_of(study: Study, results: Path) -> list[str]:
    """What is wrong with the submission; the predictions without problems are printed."""
    problems = []
    for prediction in (p for submission in study.submissions.values() for p in submission):
        test = TestImages.open(results / "test_images" / f"{prediction.subject}.json")
        test, aliases = test.only(prediction.test_set), study.dataset.record["id_aliases"]
        _, found = check_submission(prediction, test, study.scored_tokens, aliases, study.other_splits)
        where = f"{prediction.subject}, {prediction.sessions} sessions, seed {prediction.seed}"
        print(f"{where}: {len(found)} problems" if found else f"{where}: complete, {len(test.ids)} test images")
        problems += found
    return list(dict.fromkeys(problems))


def score(study: Study, configfiles: list[Path], results: Path) -> None:
    """Make the scores and print their means next to chance, and warn of suspicious ones."""
    (name,) = study.submissions
    path = results / "scores" / f"{name}.parquet"
    make(study, configfiles, [path.as_posix()])
    scores = read_scores(path)
    means = scores.groupby(["subject", "sessions", "seed", "metric"])["value"].mean().unstack("metric")
    registry = {metric: study.registries["metrics"][metric] for metric in means}
    pool = study.config["retrieval"]["pool"]
    chances = {metric: entry["chance"] for metric, entry in registry.items()} | pool_chances(scores, registry, pool)
    facts = pd.DataFrame(
        {m: {"chance": chances[m], "higher is better": entry["higher_is_better"]} for m, entry in registry.items()}
    )
    print(facts.T.to_string(na_rep="—"), means.T.to_string(float_format="{:.4f}".format, na_rep="—"), sep="\n\n")
    for text in [text for _, text in suspicions(scores, registry, pool, [name])] + of_pictures(study, name, results):
        print(f"Warning: {text}")


def of_pictures(study: Study, name: str, results: Path) -> list[str]:
    """What is suspicious of the submission's pictures."""
    stimuli = Stimuli.open(results / "stimuli")
    paths = [results / "predictions" / name / study.made_at(name, cell).path for cell in study.cells(name)]
    return [text for path in paths for text in suspicions_of_pictures(Prediction.open(path), stimuli)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("submission", help="folder with submission.yaml, or that file")
    parser.add_argument("--configfile", type=Path, nargs="+", default=[], help="study to score it in (the demo)")
    parser.add_argument("--check-only", action="store_true", help="do not score it")
    arguments = parser.parse_args()
    try:
        study = study_of(arguments.configfile, Path(expanded(arguments.submission)).resolve())
        study.dataset.check_terms()
        results = Path("results") / study.name
        subjects = sorted({p.subject for submission in study.submissions.values() for p in submission})
        make(study, arguments.configfile, [f"{results}/test_images/{subject}.json" for subject in subjects])
        problems = problems_of(study, results)
        for problem in problems:
            print(f"Error: {problem}", file=sys.stderr)
        if problems:
            return 1
        if not arguments.check_only:
            score(study, arguments.configfile, results)
    except (UserError, FileNotFoundError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
