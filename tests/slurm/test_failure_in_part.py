"""A cancelled job on a real Slurm: what does not depend on it is scored there and reported, with the gap."""

import pandas as pd
from trial import PATIENCE, wait_for


def test_the_other_seed_of_a_cancelled_training_is_scored_in_slurm(study, cluster, tmp_path):
    trial = study[0].copy(tmp_path / "two_seeds", seeds=[0, 1])
    process = trial.start()
    (job,) = wait_for(lambda: [job for job in trial.jobs() if job["JobState"] == "RUNNING"], "training")
    cluster.run("scancel", job["JobId"])
    assert process.wait(2 * PATIENCE) == 1, trial.printed[-5000:]
    assert len(trial.jobs()) == 1 and "Reported without it: results/trial/page.html" in trial.printed
    tables = trial.folder / "results/trial/tables"
    (gap,) = pd.read_csv(tables / "gaps.csv").to_dict("records")
    assert (gap["method"], gap["what"], gap["n_scored"]) == ("sleeper", "seed 1", 1)
    assert "the Slurm job was cancelled" in gap["reason"]
    scores = pd.read_parquet(trial.folder / "results/trial/scores/sleeper.parquet")
    assert set(scores["seed"]) == {0} and trial.jobs("evaluate")
    assert pd.read_csv(tables / "jobs.csv").set_index("job").loc["evaluate/sleeper", "slurm_job"] > 0
    # The copy of the study is without the logs of what was made before, and the report says so.
    facts = pd.read_csv(tables / "provenance.csv").set_index("item")["value"]
    assert "left no record" in facts["without a record"] and "Slurm jobs" in facts["in Slurm"]
