"""Score against training sessions, every subject on its own, grids of reconstructions, and the banner."""

from pathlib import Path

import numpy as np
import yaml

from fmri2img import job
from fmri2img.artifacts.scores import read_scores
from fmri2img.artifacts.stimuli import Stimuli
from fmri2img.reporting.estimates import estimates, scored_design
from fmri2img.reporting.figures import session_curves, subject_bars, test_set_figure
from fmri2img.reporting.grids import banner, grid, index_predictions, strips
from fmri2img.reporting.ranking import rank_name, ranking
from fmri2img.reporting.style import missing_figure, save_figure
from fmri2img.reporting.test_sets import cells_by_test_set
from fmri2img.study import Study


def main(snakemake) -> None:
    study = Study(snakemake.config)
    scores = read_scores(snakemake.input.scores, study.test_sets[0])
    design = scored_design(study, scores, snakemake.params.lacking)
    folder = Path(snakemake.output.banner).parent
    save_figure(session_curves(estimates(scores, design), design), folder / "sessions")
    by_subject = estimates(scores, design, by_subject=True)
    save_figure(subject_bars(scores, by_subject, design, design.longest_budget), folder / "subjects")

    settings = yaml.safe_load(Path(snakemake.input.settings).read_text(encoding="utf-8"))
    if snakemake.output.test_sets:
        of_sets = {name: read_scores(snakemake.input.scores, name) for name in study.test_sets}
        designs = {name: scored_design(study, table) for name, table in of_sets.items()}
        cells = cells_by_test_set(of_sets, designs)
        save_figure(test_set_figure(cells, design, settings["test_sets"]), folder / "test_sets")
    stimuli = Stimuli.open(snakemake.input.stimuli)
    if stimuli.pictures is None:
        why = "No pictures are shown: those of the dataset were not at hand."
        for subject in design.subjects:
            save_figure(missing_figure(why), folder / f"grid_{subject}")
        save_figure(missing_figure(why), folder / "banner", formats=("png",))
        return
    predictions = index_predictions(snakemake.input.predictions, design)
    scored = [subject for subject in design.subjects if (scores["subject"] == subject).any()]
    for subject in design.subjects:
        if subject not in scored:
            save_figure(
                missing_figure(f"Nothing of {subject} was scored, because jobs failed; gaps.csv says which."),
                folder / f"grid_{subject}",
            )
            continue
        ranked = ranking(scores, design, subject, settings["rank_by"], predictions)
        shown = ranked.at(settings["grid"]["ranks"])
        labels = [
            f"{rank_name(rank)}\n{ranked.score(i)}" if ranked.method else f"image {i}" for rank, i in shown.items()
        ]
        picked = strips(stimuli, predictions, design.condensed(), subject, np.array([*shown.values()]))
        save_figure(grid(picked, labels), folder / f"grid_{subject}")
        if subject == scored[0]:
            ids = ranked.at(np.linspace(0, 1, settings["banner"]["columns"])).values()
            found = strips(stimuli, predictions, design, subject, np.array([*ids]))
            drawn = {strip.group for strip in found}
            titles = [design.methods[name]["title"] for name in (*design.decoders, *design.methods)]
            first = next((title for title in titles if title in drawn), "")
            save_figure(banner([s for s in found if s.group in ("", first)]), folder / "banner", formats=("png",))


if __name__ == "__main__":
    job.run(main)
