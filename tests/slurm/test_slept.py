"""A job that ends, and that Slurm forgets, while the machine of Snakemake sleeps."""

import os
import signal

from cluster import Cluster
from trial import Trial, wait_for


def test_a_job_that_slurm_has_forgotten_does_not_keep_snakemake_waiting(tmp_path):
    with Cluster(tmp_path / "cluster", min_job_age=10) as cluster:
        trial = Trial(tmp_path / "study", cluster)
        process = trial.start("results/trial/splits/shared1000.json")
        wait_for(lambda: cluster.run("squeue", "--noheader").strip(), "job")
        os.kill(process.pid, signal.SIGSTOP)
        wait_for(lambda: not cluster.run("squeue", "--noheader", "--states=all").strip(), "end of all jobs")
        os.kill(process.pid, signal.SIGCONT)
        wait_for(lambda: process.poll() is not None, "end of Snakemake")
        assert process.returncode == 0, trial.printed[-5000:]
