"""The site file: what is wrong in it is one line, and every class of jobs becomes a request that the site can give."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from configurations import changed

from fmri2img import job_environment, resources
from fmri2img.errors import UserError
from fmri2img.resources import Devices, ResourceClasses
from fmri2img.settings.site import EXAMPLES, Site, read_site
from fmri2img.study import Study
from fmri2img.training import launch

REPOSITORY = Path(__file__).resolve().parents[2]
SPLIT = {
    "account": "lab",
    "partitions": {
        "cpu": {"max_runtime": 1440, "max_mem_mb": 64000, "max_threads": 16},
        "h100": {"max_runtime": 600, "max_mem_mb": 256000, "max_threads": 32, "gpus": 4, "gpu_type": "h100"},
    },
}


def classes(site=SPLIT, size="cluster", local=False, **changes) -> ResourceClasses:
    return ResourceClasses(size, Site.read(site | changes), "slurm/site.yaml", is_local=lambda: local)


def stated(found: dict) -> dict:
    """What is stated of a request."""
    return {key: value for key, value in found.items() if value is not None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("partitons: {}", "key 'partitons': unknown; did you mean 'partitions'?"),
        ("account: lab", "key 'partitions': missing; add it"),
        ("partitions: {}", "key 'partitions': is empty; give at least 1"),
        ("partitions: {a: {max_runtime: 2 days}}", "key 'partitions.a.max_runtime': '2 days' is not a whole number"),
        ("partitions: {a: {gpu_type: 'a 100'}}", "key 'partitions.a.gpu_type': 'a 100' is not made of letters"),
        ("partitions: {a: {}}\ndownloads: b", "key 'downloads': there is no partition 'b'; there are: login, nodes, a"),
        (
            "partitions: {a: {}}\nclasses: {train: {partition: b}}",
            "key 'classes.train.partition': there is no partition 'b'",
        ),
        ("partitions: {a: {}}\nclasses: {trian: {}}", "key 'classes.trian': unknown; did you mean 'train'?"),
        ("a: [", "is not valid YAML in line 1; correct it"),
    ],
)
def test_a_wrong_site_is_one_line_that_names_file_and_key(tmp_path, text, message):
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as raised:
        ResourceClasses("cluster", read_site(str(path)), str(path))
    assert str(path) in str(raised.value) and message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_site_that_is_named_must_exist():
    assert read_site("slurm/site.yaml") is None or (REPOSITORY / "slurm/site.yaml").exists()
    with pytest.raises(UserError, match=r"key 'site': .*elsewhere\.yaml cannot be read .*slurm/sites"):
        read_site("elsewhere.yaml")


@pytest.mark.parametrize("path", sorted((REPOSITORY / EXAMPLES).glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("size", ["laptop", "cluster"])
def test_every_example_takes_every_class_at_every_attempt(path, size):
    site = read_site(str(path.relative_to(REPOSITORY)))
    it = ResourceClasses(size, site, path.name)
    for name in it.names:
        for attempt in (1, 2, 3):
            found = it.request(name, attempt=attempt)
            limits = resources.partition_limits(site.partitions[found["slurm_partition"]])
            assert all(found[key] <= limit for key, limit in limits.items())
            assert bool(found["gpu"] or found["gres"]) == ("gpu" in it._classes[name])


def test_jobs_go_to_the_partition_of_their_kind_with_account_and_gpu_type():
    it = classes()
    fit, draw = it.request("fit"), it.request("draw")
    assert stated(fit) == {
        "threads": 16, "mem_mb": 64000, "runtime": 480, "slurm_partition": "cpu", "slurm_account": "lab",
    }  # fmt: skip
    assert (draw["slurm_partition"], draw["gpu"], draw["gpu_model"], draw["slurm_account"]) == (
        "h100",
        1,
        "h100",
        "lab",
    )


def test_retries_get_more_but_never_more_than_the_partition_gives():
    it = classes()
    tries = [it.request("features", attempt=attempt) for attempt in (1, 2, 3, 9)]
    assert [found["mem_mb"] for found in tries] == [64000, 128000, 192000, 256000]
    assert [found["runtime"] for found in tries] == [480, 600, 600, 600]
    assert [it.request("train", attempt=attempt)["runtime"] for attempt in (1, 2, 3)] == [600] * 3  # in slices
    assert it.too_small("train") == {"runtime": "needs 2880 minutes, partition h100 gives 600"}
    assert it.needs("features")["mem_mb"](None, attempt=2) == 128000
    assert it.needs("train")["runtime"] == 600


def test_a_retry_that_outgrows_a_partition_goes_to_a_larger_one():
    small = {"small": {"max_mem_mb": 10000, "max_runtime": 90}, "large": {"max_mem_mb": 500000}}
    it = classes(partitions=small | {"gpu": {"gpus": 1}})
    assert [it.request("light", attempt=n)["slurm_partition"] for n in (1, 2)] == ["small", "large"]
    assert it.request("cpu")["slurm_partition"] == "large"  # of its time
    assert it.needs("light")["slurm_partition"](None, attempt=2) == "large"


def test_without_another_partition_cpu_jobs_go_where_the_gpus_are():
    it = classes(partitions={"all": {"gpus": 2}})
    assert it.request("light")["slurm_partition"] == it.request("train")["slurm_partition"] == "all"
    assert it.request("light")["gpu"] is None


def test_a_class_may_have_other_numbers_another_partition_and_another_gpu():
    own = {"draw": {"mem_mb": 30000, "gpu_type": "1g.10gb", "qos": "short"}, "light": {"partition": "h100"}}
    it = classes(classes=own, qos="normal", extra="--mail-type=FAIL")
    draw = it.request("draw")
    assert (draw["mem_mb"], draw["gpu_model"], draw["qos"]) == (30000, "1g.10gb", "short")
    assert draw["slurm_extra"] == "--mail-type=FAIL"
    assert it.request("light")["slurm_partition"] == "h100" and it.request("light")["qos"] == "normal"


def test_gpus_may_be_requested_as_gres_which_jobs_of_this_machine_do_not_count():
    on_slurm, here = classes(request_gpus="gres"), classes(request_gpus="gres", local=True)
    assert on_slurm.needs("draw")["gres"] == "gpu:h100:1"
    assert on_slurm.needs("draw")["gpu"](None) is None
    assert here.needs("draw")["gpu"](None) == 1
    training = here.needs("train", lambda wildcards: Devices(1, 2))
    assert training["gpu"](None, attempt=1) == 2


def test_a_training_writes_a_checkpoint_before_its_limit_and_needs_no_more_time_at_a_retry():
    """Ten minutes before a long limit, seconds before a short one; a job that starts over has no use for it."""
    partitions = {"short": {"gpus": 4, "max_runtime": 2}}
    for limited, minutes, signal in ((classes(), 600, "TERM@600"), (classes(partitions=partitions), 2, "TERM@12")):
        requests = [limited.request("train", attempt=attempt) for attempt in (1, 2, 3)]
        assert {request["runtime"] for request in requests} == {minutes}
        assert {request["slurm_extra"] for request in requests} == {f"--signal={signal}"}
        assert limited.request("draw")["slurm_extra"] is None
    assert classes(extra="--nice").request("train")["slurm_extra"] == "--nice --signal=TERM@600"


def test_downloads_go_to_the_transfer_partition_or_the_login_node_and_nothing_else_does():
    partitions = {"transfer": {"max_runtime": 300}} | SPLIT["partitions"]
    it = classes(partitions=partitions, downloads="transfer")
    assert it.request("download")["slurm_partition"] == "transfer" and not it.downloads_are_local
    assert it.request("light")["slurm_partition"] == "cpu"
    assert classes(downloads="login").downloads_are_local


def test_resources_of_several_gpus_and_nodes_follow_from_the_configuration():
    it = classes()
    assert stated(it.request("train", Devices(1, 2))) | {"slurm_account": ""} == {
        "threads": 16, "mem_mb": 256000, "runtime": 600, "gpu": 2, "gpu_model": "h100", "slurm_partition": "h100",
        "slurm_account": "", "nodes": 1, "slurm_extra": "--signal=TERM@600",
    }  # fmt: skip
    several = it.request("train", Devices(2, 4))
    assert several["gpu"] is None and several["gres"] == "gpu:h100:4"  # of each node
    assert [several[key] for key in ("nodes", "tasks", "tasks_per_gpu", "mpi", "threads")] == [2, 2, 0, "srun", 32]
    without_gpus = ResourceClasses("laptop").request("train", Devices(2, 2))
    assert without_gpus["gres"] is without_gpus["gpu"] is None and without_gpus["mem_mb"] == 4000
    assert it.threads("train", lambda wildcards: Devices(1, 2))(None) == 16


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"gpus_per_node": 6}, "key 'mindeye2.finetuning.gpus_per_node': 6, but nodes of slurm/site.yaml have 4 GPUs"),
        ({"nodes": 3}, "key 'mindeye2.finetuning.nodes': 3, but jobs of slurm/site.yaml have 2; lower it"),
    ],
)
def test_a_training_that_no_partition_can_run_is_refused_before_the_first_job(stage, message):
    study = Study(changed(**{f"mindeye2__finetuning__{key}": n for key, n in stage.items()}))
    partitions = SPLIT["partitions"] | {"h100": SPLIT["partitions"]["h100"] | {"max_nodes": 2}}
    with pytest.raises(UserError, match=message):
        launch.check_devices(study, classes(partitions=partitions), "train")


def test_a_class_that_needs_gpus_where_there_are_none_names_the_key():
    it = classes(partitions={"cpu": {}})
    assert it.request("light")["slurm_partition"] == "cpu"
    with pytest.raises(UserError, match=r"slurm/site\.yaml: key 'partitions': class draw needs 1 GPU on a node"):
        it.request("draw")


def test_several_nodes_need_slurm_and_slurm_needs_a_site():
    several = Study(changed(mindeye2__finetuning__nodes=2))
    with pytest.raises(UserError, match=r"key 'mindeye2\.finetuning\.nodes': 2 nodes need SLURM"):
        launch.check_cluster(several, ResourceClasses("laptop"), slurm=False)
    launch.check_cluster(several, ResourceClasses("laptop"), slurm=True)
    with pytest.raises(UserError, match=r"2 nodes need srun, which a container image does not.*slurm/site\.yaml"):
        launch.check_cluster(several, classes(container="a.sif"), slurm=True)
    large = Study(changed(resources="cluster"))
    with pytest.raises(UserError, match=r"^slurm/site\.yaml: not there.*copy the nearest of slurm/sites/"):
        launch.check_cluster(large, ResourceClasses("cluster"), slurm=True)
    launch.check_cluster(large, ResourceClasses("cluster"), slurm=False)
    launch.check_cluster(large, classes(), slurm=True)


def test_half_precision_without_a_gpu_is_refused_before_the_first_job(monkeypatch):
    half = Study(changed(mindeye2__pretraining__training__precision="fp16"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    wrong = r"key 'mindeye2\.pretraining\.training\.precision': fp16 needs a GPU, and this machine has none; use bf16"
    with pytest.raises(UserError, match=wrong):
        launch.check_precision(half, launch.stages(half))
    launch.check_precision(half, [("mindeye2", "finetuning")])  # the pretraining has been done
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    launch.check_precision(half, launch.stages(half))
    training = {"precision": "fp16", "deepspeed": "config/deepspeed/zero2_offload.json"}
    both = {f"mindeye2__finetuning__training__{key}": value for key, value in training.items()}
    with pytest.raises(UserError, match=r"training\.precision': fp16 does not go with deepspeed; use bf16 or fp32"):
        Study(changed(**both))


def test_a_training_on_one_node_takes_its_gpus_before_it_starts():
    study = Study(changed(mindeye2__finetuning__gpus_per_node=2))
    command = launch.launcher(study, "mindeye2", "finetuning", threads=4, gpus=2)
    assert command == (
        "python -m fmri2img.devices 2 env OMP_NUM_THREADS=2 "
        "python -m fmri2img.training.torchrun --nproc-per-node 2 --standalone"
    )
    assert launch.launcher(study, "mindeye2", "pretraining", threads=4, gpus=1) == "python -m fmri2img.devices 1 python"


def test_each_node_starts_its_processes_under_one_rendezvous():
    study = Study(changed(mindeye2__finetuning__nodes=2, mindeye2__finetuning__gpus_per_node=3))
    command = launch.launcher(study, "mindeye2", "finetuning", threads=24, gpus=3)
    echo = 'srun() { echo "$@"; export SLURM_NODEID=1 SLURM_LAUNCH_NODE_IPADDR=10.0.0.7; shift 5; eval \'"$@"\'; }; '
    torchrun = 'python() { shift 2; echo "$OMP_NUM_THREADS" "$@"; }; export -f python; SLURM_JOB_ID=123456; '
    # `env` starts programs, so a function of the shell stands in for it too.
    environment = 'env() { export "$1"; shift; "$@"; }; export -f env; export SLURM_JOB_ID; '
    script = f"{echo}{torchrun}{environment}{command} 'a script.py' --config x"
    printed = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert printed[0].startswith(
        "--nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=24 --kill-on-bad-exit bash -c"
    )
    assert printed[1] == (
        "8 --nproc-per-node 3 --nnodes 2 --node-rank 1 --master-addr 10.0.0.7 --master-port 13456 a script.py "
        "--config x"
    )


def test_a_site_prepares_jobs(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    setup = "module() { export LOADED=$1; export PATH=/nowhere:$PATH; }; module cuda"
    site = Site.read(SPLIT | {"proxy": "http://proxy:3128", "setup": setup, "scratch": f"{tmp_path}/$SLURM_JOB_ID"})
    monkeypatch.setattr(job_environment.os, "environ", dict(job_environment.os.environ))
    job_environment.prepare(site)
    assert job_environment.os.environ["https_proxy"] == "http://proxy:3128"
    prefix = job_environment.setup_of(site).format()
    command = f'{prefix} echo "$LOADED ${{PATH%%:*}}"'
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    printed = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], env=environment, capture_output=True, text=True
    )
    assert printed.stdout.split() == ["cuda", str(Path(sys.executable).parent)]  # the job's own Python comes first
    assert job_environment.setup_of(None) == ""


def test_scratch_is_the_systems_folder_where_the_job_has_no_number(monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert resources.scratch_folder("/scratch/$SLURM_JOB_ID") == "/scratch/17"
    monkeypatch.delenv("SLURM_JOB_ID")
    assert resources.scratch_folder("/scratch/$SLURM_JOB_ID") == resources.tempfile.gettempdir()
    folder = classes(scratch="/scratch/a").needs("light")["tmpdir"]
    assert folder(SimpleNamespace()) == "/scratch/a"


def test_the_examples_are_what_their_names_say():
    found = {path.stem: yaml.safe_load(path.read_text()) for path in (REPOSITORY / EXAMPLES).glob("*.yaml")}
    assert set(found) == {"one_partition", "split", "typed_gpus"}
    assert len(found["one_partition"]["partitions"]) == 1
    assert found["typed_gpus"]["classes"]["train"]["gpu_type"]
