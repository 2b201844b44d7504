"""Faults planted in jobs of a finished study: a job does its work all the same, or leaves nothing wrong and says why.

`pytest tests/workflow/test_planted_faults.py --cases 20` plants every fault in a job of every rule, `--seed` draws
other jobs, moments and places. Trainings are started by a shell and have tests of their own (tests/faults).
"""

import itertools
import json
import random
import shutil
from collections import Counter
from contextlib import chdir
from pathlib import Path

import pytest
from planted_faults import FAULTS, Job, harm, lift, plant

from fmri2img.job_graph import graph_of

DRAWN = 8  # faults; --cases plants as many times more
MENDED = FAULTS[:3]  # of these nothing is left once they are over


@pytest.fixture(scope="module")
def jobs(finished):
    """Rule -> its jobs, of rules that run a script and whose outputs hold no times."""
    with chdir(finished):
        rules = graph_of(configfiles=[finished / "small.yaml"]).rules
    scripts = {
        rule.name: (Path(str(rule.basedir)) / rule.script).resolve()
        for rule in rules
        if rule.script and "study" not in dict(rule.params._allitems())
    }
    found = {}
    for record in sorted((finished / "logs/small").rglob("*.log.json")):
        rule = json.loads(record.read_text())["rule"]
        if rule in scripts:
            found.setdefault(rule, []).append(Job(finished, record, scripts[rule]))
    return found


def test_a_fault_leaves_nothing_wrong_and_its_cause_is_said(jobs, tmp_path, case, capsys):
    assert len(jobs) > 18
    chance, wrong, planted = random.Random(case(0)), [], Counter()
    pairs = [*itertools.product(sorted(jobs), FAULTS)]
    chance.shuffle(pairs)
    for rule, kind in itertools.islice(itertools.cycle(pairs), DRAWN * (case(1) - case(0))):
        job = chance.choice(jobs[rule])
        undisturbed = job.repeat(fresh(job, tmp_path))
        assert undisturbed.status == 0, undisturbed.said
        folder = fresh(job, tmp_path)
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


def fresh(job, folder):
    """An empty folder prepared for a job."""
    work = folder / "work"
    if work.exists():
        for path in work.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(work)
    work.mkdir()
    job.prepare(work)
    return work
