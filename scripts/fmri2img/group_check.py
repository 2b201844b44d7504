"""A check of Snakemake's groups in the time of one pass over the jobs.

Snakemake makes sure that no group waits for a job that waits for the group. For every job of a group it visits all jobs
before it, so the time grows with the square of a study. The same follows from one pass: the submissions, in which a
group counts as one, have an order. Where they have none, Snakemake's own check finds the jobs and tells the remedy.
"""

from snakemake.dag import DAG

_validate_group, _check_groups = DAG.validate_group, DAG._check_groups


def check_groups_in_one_pass() -> None:
    """Replace both checks of Snakemake (of the groups, and of those that were put together) by one."""
    DAG.validate_group = lambda dag, group: None
    DAG._check_groups = _check


def _check(dag: DAG) -> None:
    if not _has_order(dag):
        for group in set(dag._group.values()):
            _validate_group(dag, group)
        _check_groups(dag)


def _has_order(dag: DAG) -> bool:
    """Whether the submissions can be run one after the other (Kahn's algorithm)."""
    waits: dict[int, set[int]] = {}
    unlocks: dict[int, list[int]] = {}
    number = {job: id(dag._group.get(job, job)) for job in dag.jobs}
    for job, own in number.items():
        found = waits.setdefault(own, set())
        for other in dag._dependencies.get(job, ()):
            before = number.get(other, own)
            if before != own and before not in found:
                found.add(before)
                unlocks.setdefault(before, []).append(own)
    left = {one: len(found) for one, found in waits.items()}
    ready = [one for one, count in left.items() if count == 0]
    done = 0
    while ready:
        one = ready.pop()
        done += 1
        for later in unlocks.get(one, ()):
            left[later] -= 1
            if left[later] == 0:
                ready.append(later)
    return done == len(waits)
