"""Records of checksums, for tests that change artifacts on purpose."""

from pathlib import Path

from fmri2img.integrity import record_of


def unrecorded(artifact: str | Path) -> Path:
    """Remove the record of an artifact, so that it is taken as another program's, and return its path."""
    record_of(Path(artifact)).unlink(missing_ok=True)
    return Path(artifact)
