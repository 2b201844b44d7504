"""Cells of a study: which subject, training budget, seed and test set a Decoded or a Prediction is of.

What does not vary with one of the first three is made once and has `all` in its place, so that a control that reads
only the true images is not copied for every subject and budget.
"""

from typing import Any, NamedTuple

from fmri2img.artifacts.budgets import parse_sessions

ALL = "all"
# Below a method's folder; the wildcards of every rule that makes a Decoded or a Prediction.
PATTERN = "{subject}/{sessions}sessions/seed{seed}/{test_set}"


class Cell(NamedTuple):
    """sessions: whole sessions, or a share of one; subject, sessions and seed may be ALL."""

    subject: str
    sessions: int | float | str
    seed: int | str
    test_set: str

    @classmethod
    def of(cls, wildcards: Any) -> "Cell":
        """The cell of a job's wildcards."""
        seed = wildcards.seed if wildcards.seed == ALL else int(wildcards.seed)
        return cls(wildcards.subject, cls.sessions_of(wildcards.sessions), seed, wildcards.test_set)

    @staticmethod
    def sessions_of(text: str) -> int | float | str:
        """A budget as it stands in a path."""
        return ALL if text == ALL else parse_sessions(text)

    @property
    def noise_seed(self) -> int:
        """The seed of what is random in the cell: its own, and 0 of what is made once for all seeds."""
        return noise_seed(self.seed)

    @property
    def path(self) -> str:
        return PATTERN.format(**self._asdict())

    def varying(self, axes: list[str]) -> "Cell":
        """The cell of what varies with these of subject, sessions and seed only."""
        return self._replace(**{axis: ALL for axis in ("subject", "sessions", "seed") if axis not in axes})


def noise_seed(seed: int | str) -> int:
    """`Cell.noise_seed` of a seed as it stands in a path or in metadata."""
    return 0 if seed == ALL else int(seed)
