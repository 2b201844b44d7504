"""What the cluster's partitions give, as scontrol and sinfo print it."""

import re
import subprocess
from dataclasses import dataclass, field

from fmri2img.errors import UserError

SECONDS = 30  # after which a command of SLURM is given up


@dataclass
class Given:
    """What a partition gives; None where SLURM states no limit."""

    state: str
    minutes: int | None
    nodes: int | None
    accounts: list[str] | None
    qos: list[str] | None
    threads: int = 0
    mem_mb: int = 0
    gpus: dict[str, int] = field(default_factory=dict)  # type ("" for untyped) -> most on one node
    features: set[str] = field(default_factory=set)
    available: int = 0  # nodes that are up


def slurm(*command: str) -> subprocess.CompletedProcess:
    """Run a command of SLURM. Raises UserError when it is not there or does not answer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        raise UserError(f"{command[0]}: not found; run this on a login node of the cluster") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]}: no answer in {SECONDS} s; try again when SLURM answers `sinfo`") from None


def partitions() -> dict[str, Given]:
    """Name -> what the partition gives."""
    shown = slurm("scontrol", "show", "partition", "--oneliner")
    if shown.returncode:
        raise UserError(f"scontrol: {shown.stderr.strip()}; run this on a login node of the cluster")
    found = {}
    for line in shown.stdout.splitlines():
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "PartitionName" in words:
            found[words["PartitionName"]] = Given(
                words.get("State", "UP"),
                minutes_of(words.get("MaxTime", "UNLIMITED")),
                _number(words.get("MaxNodes", "UNLIMITED")),
                _listed(words.get("AllowAccounts", "ALL")),
                _listed(words.get("AllowQos", "ALL")),
            )
    for line in slurm("sinfo", "--noheader", "--Node", "--format=%R|%c|%m|%G|%f|%T").stdout.splitlines():
        name, threads, mem_mb, gres, features, state = line.split("|")
        given = found.get(name)
        if given is None:
            continue
        given.threads = max(given.threads, int(threads))
        given.mem_mb = max(given.mem_mb, int(mem_mb.rstrip("+")))
        given.features |= set(features.split(",")) - {"(null)", ""}
        given.available += not re.match(r"(down|drain|fail|maint|inval|unk|power)", state.lower())
        for kind, count in gpus_of(gres).items():
            given.gpus[kind] = max(given.gpus.get(kind, 0), count)
    return found


def gpus_of(gres: str) -> dict[str, int]:
    """Type ("" for untyped) -> number, of a node's generic resources such as gpu:a100:4(S:0-1),gpu:1g.10gb:7."""
    found: dict[str, int] = {}
    for part in re.sub(r"\([^)]*\)", "", gres).split(","):
        words = part.split(":")
        if words[0] == "gpu":
            kind = words[1] if len(words) == 3 or (len(words) == 2 and not words[1].isdigit()) else ""
            found[kind] = found.get(kind, 0) + (int(words[-1]) if words[-1].isdigit() else 1)
    return found


def minutes_of(text: str) -> int | None:
    """Minutes of a time limit as SLURM prints it: [days-]hours:minutes:seconds; None for UNLIMITED."""
    if text in ("UNLIMITED", "INFINITE", "NONE"):
        return None
    days, _, clock = text.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part)
    return int(days or 0) * 1440 + seconds // 60


def own_accounts(user: str) -> list[str] | None:
    """Accounts that a user may charge; None where there is no accounting database."""
    try:
        shown = slurm("sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={user}", "format=account")
    except UserError:
        return None
    return sorted(set(shown.stdout.split())) if shown.returncode == 0 and shown.stdout.strip() else None


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _listed(text: str) -> list[str] | None:
    return None if text.upper() in ("ALL", "(NULL)") else text.split(",")
