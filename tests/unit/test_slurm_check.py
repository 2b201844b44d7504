"""`make slurm-check` against commands that stand in for SLURM's: what does not fit is said in plain words."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from configurations import changed

from fmri2img.cluster import check, nodes, partitions, requests
from fmri2img.errors import UserError
from fmri2img.resources import ResourceClasses
from fmri2img.settings.site import Site
from fmri2img.study import Study

REPOSITORY = Path(__file__).resolve().parents[2]
SITE = {
    "account": "lab",
    "partitions": {
        "cpu": {"max_runtime": 1440, "max_mem_mb": 64000, "max_threads": 16},
        "gpu": {"max_runtime": 2880, "max_mem_mb": 256000, "max_threads": 32, "gpus": 4, "gpu_type": "a100"},
    },
}
PARTITIONS = """\
PartitionName=cpu AllowAccounts=ALL AllowQos=normal,short Default=YES MaxNodes=UNLIMITED MaxTime=1-00:00:00 State=UP
PartitionName=gpu AllowAccounts=lab,other AllowQos=ALL MaxNodes=2 MaxTime=2-00:00:00 State=UP
PartitionName=old AllowAccounts=ALL AllowQos=ALL MaxNodes=1 MaxTime=UNLIMITED State=DRAIN
"""
NODES = """\
cpu|16|64000|(null)|avx2|idle
gpu|32|256000|gpu:a100:4(S:0-1)|a100,nvlink|mixed
gpu|64|512000|gpu:a100:2(S:0),gpu:1g.10gb:14(S:1)|(null)|down*
old|8|8000|gpu:2|(null)|drained
"""
PROBE = {
    "host": "g7", "token": "abc", "python": sys.version.split()[0], "packages": {"torch": "2.15.0+cu132"},
    "internet": "", "scratch": "", "processors": 8,
    "gpus": {"handed_out": "0", "driver": True, "build": "13.2", "seen": ["NVIDIA A100"]},
}  # fmt: skip


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A function that replaces SLURM's commands: name -> the shell script that stands in for it."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def replace(**scripts: str) -> None:
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)

    def printing(text: str) -> str:
        return f"cat <<'END'\n{text}END"

    config = printing("MinJobAge               = 300 sec\n")
    shown = f'case "$2" in partition) {printing(PARTITIONS)}\n;; *) {config}\n;; esac'
    replace(scontrol=shown, sinfo=printing(NODES), sacctmgr="exit 1", squeue="true")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return replace


def classes(**changes) -> ResourceClasses:
    return ResourceClasses("cluster", Site.read(SITE | changes), "slurm/site.yaml")


def wrong(lines: list[check.Line]) -> list[str]:
    return [f"{line.what}: {line.text}" for line in lines if line.wrong]


def test_what_partitions_give_is_read_from_slurm(slurm):
    given = partitions.partitions()
    assert (given["gpu"].minutes, given["gpu"].nodes, given["gpu"].available) == (2880, 2, 1)
    assert given["gpu"].gpus == {"a100": 4, "1g.10gb": 14} and given["gpu"].features == {"a100", "nvlink"}
    assert given["old"].gpus == {"": 2} and given["old"].minutes is None
    assert [partitions.minutes_of(text) for text in ("30:00", "12:00:00", "7-00:00:00")] == [30, 720, 10080]


def test_a_site_that_agrees_with_the_cluster_has_no_problem(slurm):
    assert wrong(check.check_partitions(classes())) == []


@pytest.mark.parametrize(
    ("partition", "message"),
    [
        ({"max_runtime": 5000}, "max_runtime: 5000, but it gives 2880 minutes: a longer job waits for ever; set it to"),
        ({"max_runtime": None}, "max_runtime is not stated, and it gives 2880 minutes: a longer job waits for ever"),
        ({"max_mem_mb": 600000}, "max_mem_mb: 600000, but it gives 512000 MB on a node"),
        ({"max_threads": 65}, "max_threads: 65, but it gives 64 processors on a node"),
        ({"max_nodes": 4}, "max_nodes: 4, but it gives 2 nodes for a job"),
        ({"gpus": 20}, "gpus: 20, but it gives 18 GPUs on a node"),
        ({"constraint": "ib"}, "constraint: no node has the feature ib; there are: a100, nvlink"),
        ({"gpu_type": "h100"}, "gpu_type: no GPU of type h100; there are: a100, 1g.10gb"),
    ],
)
def test_a_limit_that_the_partition_does_not_have_is_named_with_the_right_one(slurm, partition, message):
    it = classes(partitions=SITE["partitions"] | {"gpu": SITE["partitions"]["gpu"] | partition})
    (found,) = wrong(check.check_partitions(it))
    assert found.startswith(f"partition gpu: {message}")


def test_a_partition_that_does_not_exist_or_takes_no_jobs_is_named(slurm):
    found = wrong(check.check_partitions(classes(partitions={"batch": {"gpus": 1}, "old": {"qos": "x"}})))
    assert found == [
        "partition batch: not on this cluster; there are: cpu, gpu, old",
        "partition old: its state is DRAIN: no job starts",
    ]
    (found,) = wrong(
        check.check_partitions(
            classes(
                qos="long",
                partitions={"cpu": SITE["partitions"]["cpu"] | {"qos": "long"}, "gpu": SITE["partitions"]["gpu"]},
            )
        )
    )
    assert found == "partition cpu: qos: long is not allowed; there are: normal, short"


def test_an_account_is_compared_with_those_of_the_user_and_of_the_partition(slurm):
    (found,) = wrong(check.check_partitions(classes(account="third")))
    assert found == "account: third may not use partition gpu: lab, other may"
    slurm(sacctmgr="echo other; echo mine")
    found = wrong(check.check_partitions(classes()))
    assert found == ["account: lab is not one of yours; you have: mine, other"]


def test_without_slurm_the_first_line_says_where_to_run_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"^scontrol: not found; run this on a login node of the cluster$"):
        check.check_partitions(classes())


def test_every_class_is_requested_as_the_plugin_submits_it(slurm):
    slurm(sbatch='echo "$@"')
    study = Study(changed(resources="cluster", mindeye2__pretraining__nodes=2, mindeye2__pretraining__gpus_per_node=2))
    found = {request.name: requests.answer_to(request) for request in requests.requests_of(study, classes())}
    assert set(found) == {*classes().names, "mindeye2.pretraining"} and all(taken for taken, _ in found.values())
    train, fit, two_nodes = (found[name][1] for name in ("train", "fit", "mindeye2.pretraining"))
    assert "-A lab -p gpu -t 2880 --mem 128000 --cpus-per-task=8" in train and "--gpus=a100:1" in train
    assert (
        "-A lab -p cpu -t 480 --mem 64000 --ntasks=1 --cpus-per-task=16" in fit and "gpu" not in fit.split("-p cpu")[1]
    )
    assert "--mem 256000 --nodes=2 --ntasks=2 --cpus-per-task=16 " in two_nodes and "--gres=gpu:a100:2 " in two_nodes
    assert all("--test-only --wrap true" in answer for _, answer in found.values())  # nothing is submitted


def test_what_a_class_lacks_on_the_cluster_is_a_problem_unless_it_resumes(slurm):
    slurm(sbatch="true")
    study = Study(changed(resources="cluster"))
    short = SITE["partitions"] | {"gpu": SITE["partitions"]["gpu"] | {"max_runtime": 600, "max_mem_mb": 100000}}
    it = classes(partitions=short)
    lines = check.check_requests(requests.requests_of(study, it), it)
    assert [text for text in wrong(lines) if "train" in text] == [
        "jobs train: needs 128000 MB of memory, partition gpu gives 100000: it may be killed; if it is enough, set "
        "classes.train.mem_mb in slurm/site.yaml"
    ]
    sliced = "needs 2880 minutes, partition gpu gives 600: it runs in slices, each from the last checkpoint"
    assert check.Line("jobs train", sliced, False) in lines
    assert any(text.startswith("jobs draw: needs 720 minutes, partition gpu gives 600") for text in wrong(lines))


@pytest.mark.parametrize(
    ("answer", "final"),
    [
        ("allocation failure: Requested node configuration is not available", True),
        ("sbatch: error: invalid partition specified: nope", True),
        ("allocation failure: Invalid account or account/partition combination specified", True),
        ("allocation failure: Requested time limit is invalid (missing or exceeds some limit)", True),
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", False),
        ("allocation failure: Requested nodes are busy", False),
        ("allocation failure: Required node not available (down, drained or reserved)", False),
    ],
)
def test_a_study_does_not_start_with_a_request_that_slurm_would_never_take(slurm, answer, final):
    slurm(sbatch=f'echo "{answer}" >&2; exit 1')
    resources = SimpleNamespace(get=classes().request("draw").get)
    jobs = [SimpleNamespace(rule=SimpleNamespace(name="draw"), resources=resources, threads=8)] * 3
    (request,) = requests.requests_of_jobs(jobs)
    if final:
        with pytest.raises(UserError, match=r"^slurm/site\.yaml: SLURM refuses jobs of draw \(partition gpu, 8 proc"):
            check.refuse([request], "slurm/site.yaml")
    else:
        check.refuse([request], "slurm/site.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token": None}, "g7 does not see a file written here: results must be on a file system that all nodes share"),
        ({"python": "3.9.1"}, "Python 3.9.1 on g7, "),
        ({"packages": {"torch": "error: ImportError: no"}}, "torch cannot be imported on g7 (error: ImportError: no)"),
        ({"scratch": "Read-only file system"}, "no temporary file can be written on g7 (Read-only file system)"),
        ({"internet": "timed out"}, "no internet on g7 (timed out), but downloads run there: state `downloads: login`"),
        ({"gpus": {"handed_out": ""}}, "SLURM handed out no device on g7 for a request of one GPU"),
        (
            {"gpus": {"driver": False}},
            "SLURM handed out device 0 on g7, but there is no driver of a GPU: the device only stands in for one",
        ),
        ({"gpus": {"build": None}}, "but torch 2.15.0+cu132 is a build for CPUs: install the one for CUDA"),
        ({"gpus": {}}, "but torch 2.15.0+cu132 (for 13.2) cannot use it: compare with the driver's version"),
    ],
)
def test_a_node_that_does_not_fit_says_why(change, message):
    report = PROBE | change
    if "gpus" in change:
        report["gpus"] = PROBE["gpus"] | {"seen": []} | change["gpus"]
    (found,) = nodes.describe(report, True, True, "abc")
    assert message in found


def test_a_node_that_fits_says_what_it_has():
    (found,) = nodes.describe(PROBE, True, True, "abc")
    assert found == f"ok: g7: Python {PROBE['python']}, torch 2.15.0+cu132, internet, NVIDIA A100"
    assert nodes.describe(PROBE | {"internet": "timed out"}, True, False, "abc")[0].startswith("ok")  # not needed


def test_probes_run_on_each_kind_of_node_and_one_that_waits_is_cancelled(slurm, tmp_path):
    report = json.dumps(PROBE | {"token": "TOKEN"})
    slurm(
        # The job of the GPU partition stays in the queue; the other runs at once, in the submitted environment.
        sbatch=f"""case "$*" in *"-p gpu"*) echo 7;; *) echo 8
  cat > {tmp_path}/probes/cpu.json <<END
{report}
END
  sed -i "s/TOKEN/$(cat {tmp_path}/probes/token)/" {tmp_path}/probes/cpu.json;; esac""",
        squeue="echo 'PENDING|Priority'",
        scancel=f'echo "$@" > {tmp_path}/cancelled',
    )
    study = Study(changed(resources="cluster"))
    found = nodes.probe_nodes(requests.requests_of(study, classes()), None, tmp_path / "probes", patience=1)
    assert found["cpu"][0].startswith("ok: g7")
    (text,) = found["gpu-1-a100"]
    assert text.startswith("the probe did not start in time (PENDING Priority): its nodes were not checked")
    assert (tmp_path / "cancelled").read_text() == "7\n"


def test_a_probe_describes_this_machine(tmp_path):
    (tmp_path / "token").write_text("abc")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "scripts"), "https_proxy": "http://127.0.0.1:9"}
    command = [sys.executable, str(REPOSITORY / "scripts/probe_node.py"), str(tmp_path), "here"]
    script = "import sys, probe_node; probe_node.NEEDED = ('numpy', 'no_such_package'); probe_node.gpus = dict; "
    script += f"sys.argv = {command[1:]!r}; probe_node.main()"
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    report = json.loads((tmp_path / "here.json").read_text())
    assert report["token"] == "abc" and "refused" in report["internet"]
    assert report["packages"]["no_such_package"].startswith("error: ModuleNotFoundError")


def test_the_command_ends_with_status_1_and_the_number_of_problems(slurm, tmp_path):
    slurm(sbatch="true")
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(SITE | {"account": "third"}))
    command = [sys.executable, str(REPOSITORY / "scripts/slurm_check.py"), "--site", str(tmp_path / "site.yaml")]
    command += ["--configfile", str(REPOSITORY / "config/paper.yaml"), "--wait", "0"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "scripts")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.endswith("1 problem\n"), done.stdout + done.stderr
    assert "PROBLEM account: third may not use partition gpu" in done.stdout
