"""Training budgets in sessions. No heavy imports here, because every reading of the workflow imports this module."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """A training budget of a study.

    label: as configured: "1", "all", "10min". sessions: subject -> number of sessions that the budget gives the
    subject.
    """

    label: str
    sessions: Mapping[str, int | float]

    @classmethod
    def of(cls, value: int | str, available: Mapping[str, int]) -> "Budget":
        """value: as configured; available: recorded sessions of each subject that the budget applies to."""
        return cls(str(value), {subject: sessions_of(value, number) for subject, number in available.items()})

    @property
    def total(self) -> int | float:
        """Sessions of all subjects together."""
        return sum(self.sessions.values())

    @property
    def count(self) -> str:
        """Sessions as text: "2", or "6–8" where subjects differ."""
        low, high = min(self.sessions.values()), max(self.sessions.values())
        return f"{low:.3g}" if low == high else f"{low}–{high}"

    @property
    def title(self) -> str:
        """ "10 minutes", "1 session", "2 sessions", "all 8 sessions", "all sessions (6–8)"."""
        if self.label.endswith("min"):
            return f"{self.label.removesuffix('min')} minutes"
        if "–" in self.count:
            return f"all sessions ({self.count})"
        return f"{'all ' if self.label == 'all' else ''}{self.count} session{'' if self.count == '1' else 's'}"


def sessions_of(value: int | str, available: int) -> int | float:
    """Sessions that a configured budget gives a subject with `available` recorded sessions.

    `all` means all of them. `10min` is a sixth of a session, because a session takes about an hour (750 trials of NSD;
    MindEye2 counts 125 trials for 10 minutes).
    """
    if value == "all":
        return available
    if isinstance(value, str):
        return parse_sessions(f"{int(value.removesuffix('min')) / 60:.6f}")
    return value


def parse_sessions(text: str) -> int | float:
    """Read a training budget from a path: whole sessions, or a share of one as a decimal number."""
    sessions = float(text)
    return int(sessions) if sessions.is_integer() else sessions
