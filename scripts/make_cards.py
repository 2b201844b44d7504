"""Write a card for each method of the study, and a figure of the training of each network."""

from pathlib import Path

from fmri2img import job
from fmri2img.reporting.cards import TrainedRun, card
from fmri2img.reporting.design import Design
from fmri2img.reporting.style import missing_figure, save_figure
from fmri2img.reporting.tables import write_tables
from fmri2img.reporting.trained_runs import PRETRAINING
from fmri2img.reporting.training_curves import training_curves
from fmri2img.study import Study


def main(snakemake) -> None:
    study = Study(snakemake.config)
    entries = study.registries["methods"]
    runs: dict[str, list[TrainedRun]] = {}
    pretrained = {"/".join(Path(path).parts[-2:]): path for path in snakemake.input.pretrained}  # DECODER/POOL
    for path in map(Path, snakemake.input.decoders):
        decoder = path.parts[-4]  # .../decoders/DECODER/SUBJECT/SESSIONS/SEED
        if decoder not in runs:  # one pretraining may serve several decoders
            started_from = [pretrained[one.path] for one in study.pretrainings_of([decoder]) if one.path in pretrained]
            runs[decoder] = [TrainedRun.open(path, pretraining=True) for path in started_from]
        runs[decoder].append(TrainedRun.open(path))
    gaps = Design.of(study).with_gaps(snakemake.params.lacking)
    failed = {method: gaps.why_missing(method, where=True) for method in gaps.gaps}
    for page in map(Path, snakemake.output.cards):
        fitted = entries[page.stem]["kind"] == "decoder"
        trained = runs.get(entries[page.stem]["decoder"], []) if fitted else []
        tables, facts = card(study, page.stem, trained, failed.get(page.stem, ""))
        write_tables(page.with_suffix(""), tables, facts)
    for picture in map(Path, snakemake.output.curves):
        method = picture.stem.removesuffix("_training")
        decoder = entries[method]["decoder"]
        title, found = entries[method]["title"], shown(runs.get(decoder, []), study, method)
        missing = f"{title} {failed.get(method, 'was not trained')}."
        save_figure(training_curves(found, title) if found else missing_figure(missing), picture.with_suffix(""))


def shown(runs: list[TrainedRun], study: Study, method: str) -> dict[str, Path]:
    """Heading -> decoder, for the first subject's longest training and the pretraining from which it started."""
    subject, seed = study.subjects[0], study.seeds[0]
    longest = study.budgets_of(method, subject)[-1]
    pretraining = study.pretraining(study.registries["methods"][method]["decoder"], subject)
    found = {}
    for run in runs:
        if run.stage == PRETRAINING and pretraining and run.path.name == pretraining.pool:
            found["pretraining"] = run.path
        elif run.sessions == {subject: longest} and run.seed == seed:
            found[f"{run.stage}, {subject}, {longest:g} session{'' if longest == 1 else 's'}"] = run.path
    return found


if __name__ == "__main__":
    job.run(main)
