"""Faults planted in jobs of a finished study: a job does its work all the same, or leaves nothing wrong and says why.

`pytest tests/workflow/test_planted_faults.py --cases 20` plants every fault in a job of every rule, `--seed` draws
other jobs, moments and places.
"""

import itertools
import json
import random
import shutil
from collections import Counter
from contextlib import chdir
from pathlib import Path

import pytest
from planted_faults import FAULTS, Job, Training, harm, lift, plant

from fmri2img.job_graph import graph_of

DRAWN = 8  # faults; --cases plants as many times more
MENDED = FAULTS[:3]  # of these nothing is left once they are over
FIRST = [("simulate_stimuli", "read-only folder")]  # in every run: SciPy hides why it cannot open a MATLAB file


@pytest.fixture(scope="module")
def jobs(finished):
    """Rule -> its jobs: those that run a script, trainings and reports."""
    with chdir(finished):
        workflow = graph_of(configfiles=[finished / "small.yaml"])
    scripts = {rule.name: (Path(str(rule.basedir)) / rule.script).resolve() for rule in workflow.rules if rule.script}
    found = {}
    for job in workflow.dag.jobs:
        if job.rule.name in ("pretrain", "finetune"):
            paths = [str(path) for path in job.input], str(job.output[0])
            training = Training(finished, job.rule.name, *paths, job.params.settings, job.params.code)
            found.setdefault(job.rule.name, []).append(training)
    for record in sorted((finished / "logs/small").rglob("*.log.json")):
        rule = json.loads(record.read_text())["rule"]
        if rule in scripts:
            found.setdefault(rule, []).append(Job(finished, record, scripts[rule]))
    return found


def test_a_fault_leaves_nothing_wrong_and_its_cause_is_said(jobs, case, capsys):
    assert len(jobs) > 25 and {"pretrain", "finetune", "make_tables", "make_page"} < jobs.keys()
    chance, wrong, planted = random.Random(case(0)), [], Counter()
    pairs = [*itertools.product(sorted(jobs), FAULTS)]
    chance.shuffle(pairs)
    for rule, kind in [*FIRST, *itertools.islice(itertools.cycle(pairs), DRAWN * (case(1) - case(0)))]:
        job = chance.choice(jobs[rule])
        undisturbed, folder = job.undisturbed(lambda job=job: fresh(job)), fresh(job)
        fault = plant(kind, job, folder, undisturbed, chance)
        if fault is None:
            continue
        problem = harm(job.repeat(folder, fault), undisturbed, fault, job)
        if not problem and kind in MENDED:
            lift(fault, job, folder)
            again = job.repeat(folder)
            problem = "" if again.made == undisturbed.made else f"afterwards it makes something else: {again.said}"
        planted[kind] += 1
        if problem:
            wrong.append(f"{rule}, {fault}: {problem}")
    with capsys.disabled():
        counts = ", ".join(f"{kind} {number}" for kind, number in planted.items())
        print(f"\n{sum(planted.values())} faults planted, {sum(planted.values()) - len(wrong)} survived: {counts}")
    assert not wrong, "\n".join(wrong)


def fresh(job):
    """An empty folder prepared for a job."""
    work = job.study.with_name("planted")
    if work.exists():
        for path in work.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(work)
    work.mkdir()
    job.prepare(work)
    return work
