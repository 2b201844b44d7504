"""Regions of the brain that scores are given for, and the regions of a recording that they are made of.

A module without heavy imports, because reading a workflow needs it.
"""

EARLY = {"v1": "V1", "v2": "V2", "v3": "V3", "v4": "hV4"}  # region -> column of the voxel table
EVERYWHERE, HIGHER = "visual_cortex", "higher"  # all voxels of the mask; those in none of the early regions
REGIONS = (EVERYWHERE, *EARLY, HIGHER)


def columns_of(region: str | None) -> list[str]:
    """Columns of a recording's voxel table that a region needs."""
    if region in EARLY:
        return [EARLY[region]]
    return list(EARLY.values()) if region == HIGHER else []
