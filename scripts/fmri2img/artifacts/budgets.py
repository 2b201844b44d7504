"""Training budgets as they stand in paths. A module of its own, so that reading a workflow does not import pandas."""


def parse_sessions(text: str) -> int | float:
    """A training budget as it stands in a path: whole sessions, or a share of one in decimals."""
    sessions = float(text)
    return int(sessions) if sessions.is_integer() else sessions
