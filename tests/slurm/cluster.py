"""A Slurm cluster on this machine, for tests: munged, slurmctld and one slurmd per node, on loopback.

Needs root and Debian's packages munge and slurm-wlm. All files lie in one folder and all ports are free ones, so that
several clusters run side by side, also next to a real one. There is no accounting database. The nodes have more
processors and memory than the machine, and devices that stand in for GPUs. A job that uses more memory than it asked
for is killed.

    with Cluster(folder) as cluster:
        cluster.run("sbatch", "--wrap", "hostname")

The daemons are children of this process and end with it, whatever ends it. Command line: `python cluster.py FOLDER`
keeps a cluster until Ctrl-C, and `. FOLDER/environment.sh` in another terminal makes its commands the first on the
PATH; `--check` says why no cluster can be started.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = (
    "sbatch",
    "srun",
    "salloc",
    "squeue",
    "sacct",
    "scancel",
    "scontrol",
    "sinfo",
    "sacctmgr",
    "sshare",
    "sstat",
)
DAEMONS = ("munged", "slurmctld", "slurmd")
NODES = {"c1": "", "v1": "Gres=gpu:v100:2", "v2": "Gres=gpu:v100:2"}
CPUS, MEMORY_MB = 64, 512000

CONFIGURATION = """
ClusterName=trial
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=30
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmdSpoolDir={folder}/spool/%n
SlurmdTimeout=60
SlurmctldTimeout=60
MessageTimeout=10
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0,defer_batch
# The processors, memory and devices of this file, whatever the machine has.
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge={min_job_age}
KillWait=10
GresTypes=gpu
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AccountingStorageType=accounting_storage/none
{nodes}
PartitionName=batch Nodes=c1 Default=YES DefaultTime=00:05:00 MaxTime=1-00:00:00 State=UP
PartitionName=volta Nodes=v1,v2 DefaultTime=00:05:00 MaxTime=1-00:00:00 State=UP
PartitionName=short Nodes=v1,v2 DefaultTime=00:01:00 MaxTime=00:02:00 State=UP
"""


def obstacle() -> str:
    """Why no cluster can be started here; empty if one can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [name for name in DAEMONS if not _daemon(name)]
    if missing:
        return f"needs {', '.join(missing)}: apt-get install --no-install-recommends munge slurm-wlm"
    return ""


def _daemon(name: str) -> str | None:
    return shutil.which(name, path="/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin")


class Cluster:
    """One cluster. Partitions: batch (node c1, no GPU, the default), volta (v1 and v2, two V100 stand-ins each), and
    short, the same two nodes for two minutes at most. min_job_age: seconds after which the controller forgets a job
    that has ended. Tests ask for jobs at their end, so by default it remembers all for longer than they take on any
    machine.
    """

    def __init__(self, folder: Path, min_job_age: int = 4 * 3600) -> None:
        self.folder, self._min_job_age = folder.resolve(), min_job_age
        self._daemons: dict[str, subprocess.Popen] = {}

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with this cluster's commands first on the PATH."""
        return os.environ | {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "SLURM_CONF": self._slurm_conf}

    @property
    def _slurm_conf(self) -> str:
        return str(self.folder / "slurm.conf")

    def __enter__(self) -> "Cluster":
        try:
            self._write()
            self._start("munged", "--foreground", "--force", *self._munge_files())
            self._wait(lambda: (self.folder / "munge/socket").exists(), "munged")
            self._start("slurmctld", "-D", "-i", "-f", self._slurm_conf)
            self._wait(lambda: "UP" in self._ask("scontrol", "ping"), "slurmctld")
            for node in NODES:
                self.start_node(node)
            self._wait(lambda: set(self._ask("sinfo", "-hN", "-o%t").split()) == {"idle"}, "the nodes")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        """Cancel all jobs, then end the daemons."""
        if "slurmctld" in self._daemons and self._daemons["slurmctld"].poll() is None:
            self._ask("scancel", "--user", "root", "--signal", "KILL", "--full")
            self._ask("scancel", "--user", "root")
            deadline = time.monotonic() + 10
            while self._ask("squeue", "-h", "-o%i").strip() and time.monotonic() < deadline:
                time.sleep(0.2)
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in reversed(self._daemons.values()):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()

    def start_node(self, node: str) -> None:
        """Start the daemon of a node, with which it comes up."""
        self._start("slurmd", "-D", "-N", node, "-f", self._slurm_conf, name=node)

    def kill_node(self, node: str) -> None:
        """The node dies with all jobs on it, and the controller takes it for down."""
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait()
        for process in _processes_on(self._slurm_conf, node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=killed")

    def run(self, *command: str) -> str:
        """The output of a command of Slurm."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def job(self, number: str | int) -> dict[str, str]:
        """What the controller knows of a job: JobState, NodeList, TimeLimit, ..."""
        words = self.run("scontrol", "show", "job", "--oneliner", str(number)).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def jobs(self) -> list[dict[str, str]]:
        """All jobs that it has not forgotten, in the order in which they were submitted."""
        lines = self.run("scontrol", "show", "job", "--oneliner").splitlines()
        found = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
        return sorted((job for job in found if "JobId" in job), key=lambda job: int(job["JobId"]))

    def _write(self) -> None:
        for name in ("log", "state", "munge", "dev", "bin", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "munge").chmod(0o755)
        key = self.folder / "munge/key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        for number in (0, 1):
            device = self.folder / f"dev/v100-{number}"
            if not device.exists():
                os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))  # /dev/null: Slurm wants character devices
        port, *ports = _free_ports(1 + len(NODES))
        host = socket.gethostname().split(".")[0]
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={number} CPUs={CPUS} "
            f"RealMemory={MEMORY_MB} {devices} State=UNKNOWN"
            for (node, devices), number in zip(NODES.items(), ports, strict=True)
        )
        text = CONFIGURATION.format(
            host=host, port=port, folder=self.folder, nodes=nodes, min_job_age=self._min_job_age
        )
        Path(self._slurm_conf).write_text(text)
        (self.folder / "gres.conf").write_text(
            f"NodeName=v[1-2] Name=gpu Type=v100 File={self.folder}/dev/v100-[0-1]\n"
        )
        for command in COMMANDS:
            # Jobs lose SLURM_CONF on the way (the executor's job step removes SLURM_*), so it is part of the command.
            file = self.folder / "bin" / command
            file.write_text(f'#!/bin/sh\nSLURM_CONF={self._slurm_conf} exec /usr/bin/{command} "$@"\n')
            file.chmod(0o755)
        (self.folder / "environment.sh").write_text(
            f"export SLURM_CONF={self._slurm_conf}\nexport PATH={self.folder}/bin:$PATH\n"
        )

    def _munge_files(self) -> list[str]:
        names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        return [f"--{option}={self.folder}/munge/{name}" for option, name in names.items()]

    def _start(self, program: str, *arguments: str, name: str | None = None) -> None:
        # The daemons end with this process, also if it is killed; and none inherits its output, which a pipe would wait
        # for.
        command = ["setpriv", "--pdeathsig", "TERM", str(_daemon(program)), *arguments]
        with open(self.folder / "log" / f"{name or program}.out", "ab") as out:
            self._daemons[name or program] = subprocess.Popen(
                command,
                env=os.environ | {"SLURM_CONF": self._slurm_conf},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _ask(self, *command: str) -> str:
        try:
            return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=10).stdout
        except subprocess.TimeoutExpired:
            return ""

    def _wait(self, ready, what: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                logs = "\n".join(f"{log}: {log.read_text()[-1500:]}" for log in (self.folder / "log").iterdir())
                raise RuntimeError(f"{what} did not come up in {seconds:g} s\n{logs}")
            time.sleep(0.1)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _processes_on(slurm_conf: str, node: str) -> list[int]:
    """Processes of this cluster's jobs on a node: slurmstepd and all that it has started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _starts_with(folder / "cmdline", b"slurmstepd: ["):
            if not _contains(folder / "environ", f"SLURM_CONF={slurm_conf}"):
                continue
            members = _descendants(int(folder.name))
            if any(_contains(Path(f"/proc/{member}/environ"), f"SLURMD_NODENAME={node}") for member in members):
                found += [int(folder.name), *members]
    return found


def _starts_with(file: Path, text: bytes) -> bool:
    try:
        return file.read_bytes().startswith(text)
    except OSError:
        return False


def _contains(file: Path, variable: str) -> bool:
    try:
        return variable.encode() in file.read_bytes().split(b"\0")
    except OSError:
        return False


def _descendants(process: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *_descendants(child)]
    return found


if __name__ == "__main__":
    why = obstacle()
    if sys.argv[1:] == ["--check"]:
        print(why)
        sys.exit(1 if why else 0)
    if why:
        sys.exit(f"no cluster: {why}")
    with Cluster(Path(sys.argv[1])) as running:
        print(f"up; in another terminal: . {running.folder}/environment.sh", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
