"""Brain regions that are scored, and the columns of a recording's voxel table that each consists of.

This module has no heavy imports, because every reading of the workflow imports it.
"""

EARLY = {"v1": "V1", "v2": "V2", "v3": "V3", "v4": "hV4"}  # region -> column of the voxel table
EVERYWHERE, HIGHER = "visual_cortex", "higher"  # all voxels of the mask; those outside the early regions
REGIONS = (EVERYWHERE, *EARLY, HIGHER)


def columns_of(region: str | None) -> list[str]:
    """Columns of a recording's voxel table that a region needs."""
    if region in EARLY:
        return [EARLY[region]]
    return list(EARLY.values()) if region == HIGHER else []
