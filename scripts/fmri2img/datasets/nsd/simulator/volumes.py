"""The anatomy of a simulated subject: brain, cortex, regions of interest and the visual field on the cortex.

The brain is an ellipsoid that fills the volume and its cortex an outer shell, in coordinates from -1 to 1: x from left
to right, y from back to front, z from bottom to top. The early visual areas are rings around the occipital pole, upper
field below and lower field above, and each hemisphere sees the opposite side; the higher areas are in front of them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

CORTEX_FROM = 0.68  # distance from the centre, fraction of the brain's radius
TERRITORY = 0.085  # visual cortex, share of the volume
NSDGENERAL = 0.066  # share of the volume; visual areas extend beyond it
EARLY = {"V1": 0.17, "V2": 0.13, "V3": 0.10, "hV4": 0.07}  # shares of the visual cortex
IMAGE_DEGREES = 8.4  # width of the picture in the scanner
ECCENTRICITY_BORDERS = (0.5, 1, 2, 4)  # degrees

LABELS = {
    "nsdgeneral": ("nsdgeneral",),
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "prf-eccrois": ("ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"),
    "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-places": ("OPA", "PPA", "RSC"),
    "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "streams": ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
    "Kastner2015": (
        "V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4", "VO1", "VO2", "PHC1", "PHC2", "TO2", "TO1", "LO2", "LO1",
        "V3B", "V3A", "IPS0", "IPS1", "IPS2", "IPS3", "IPS4", "IPS5", "SPL1", "FEF",
    ),
    "HCP_MMP1": tuple(f"parcel{k}" for k in range(1, 181)),
    "visualsulc": tuple(f"sulcus{k}" for k in range(1, 15)),
    "corticalsulc": tuple(f"sulcus{k}" for k in range(1, 29)),
    "fVTC": ("fVTC",),
}  # fmt: skip
# Centre (|x|, y, z) and size (share of the visual cortex) of each category-selective region, in label order.
SELECTIVE = {
    "floc-bodies": ((0.62, -0.55, 0.1, 0.06), (0.5, -0.6, -0.35, 0.03), (0.48, -0.5, -0.48, 0.03),
                    (0.65, -0.2, -0.5, 0.01)),
    "floc-faces": ((0.5, -0.66, -0.25, 0.03), (0.4, -0.62, -0.42, 0.04), (0.42, -0.52, -0.5, 0.04),
                   (0.65, -0.2, -0.45, 0.01), (0.5, 0.3, -0.6, 0.01)),
    "floc-places": ((0.4, -0.6, 0.45, 0.05), (0.2, -0.6, -0.58, 0.06), (0.12, -0.55, 0.65, 0.05)),
    "floc-words": ((0.55, -0.65, -0.12, 0.03), (0.5, -0.6, -0.3, 0.03), (0.52, -0.5, -0.42, 0.03),
                   (0.35, -0.45, -0.6, 0.02), (0.75, -0.2, -0.35, 0.01)),
}  # fmt: skip
PARCELLED = {"Kastner2015": "visual", "visualsulc": "visual", "HCP_MMP1": "cortex", "corticalsulc": "cortex"}


@dataclass(frozen=True)
class Anatomy:
    """brain: (X, Y, Z) bool. hemisphere: (X, Y, Z) int8, cortex only: 1 left, 2 right, else 0.

    rois: name -> (X, Y, Z) int16, -1 outside the cortex, 0 unlabelled, 1.. the labels. fields: (X, Y, Z, 3) float32,
    receptive fields of the early areas: centre x, centre y and standard deviation in fractions of the picture, from its
    top left corner; NaN elsewhere.
    """

    brain: np.ndarray
    hemisphere: np.ndarray
    rois: dict[str, np.ndarray]
    fields: np.ndarray

    def hemisphere_roi(self, name: str, side: int) -> np.ndarray:
        """The labels of one hemisphere (1 left, 2 right), -1 elsewhere."""
        return np.where(self.hemisphere == side, self.rois[name], -1).astype(np.int16)


def build(dims: tuple[int, int, int], rng: np.random.Generator) -> Anatomy:
    """The anatomy of a volume of `dims` voxels; `rng` places the borders of the parcellations."""
    axes = [np.linspace(-1, 1, n) for n in dims]
    place = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    x, y, _ = np.moveaxis(place, -1, 0)
    radius = np.linalg.norm(place, axis=-1)
    brain = radius <= 1
    cortex = brain & (radius >= CORTEX_FROM)
    hemisphere = np.where(cortex, np.where(x <= 0, 1, 2), 0).astype(np.int8)

    territory = _lowest(y, cortex, round(TERRITORY * brain.size))
    # The deepest voxels of the territory stay outside nsdgeneral, so that areas reach beyond it as in NSD.
    general = _lowest(-radius, territory, round(NSDGENERAL * brain.size))
    early, visual_areas = _early_areas(place, territory)
    rois = {"nsdgeneral": general.astype(int), "prf-visualrois": visual_areas}
    fields = _receptive_fields(place, visual_areas, hemisphere)
    degrees = np.hypot(fields[..., 0] - 0.5, fields[..., 1] - 0.5) * IMAGE_DEGREES
    rois["prf-eccrois"] = np.where(early, np.digitize(degrees, ECCENTRICITY_BORDERS) + 1, 0)
    rois["streams"] = _streams(place, territory, visual_areas)
    for name, patches in SELECTIVE.items():
        rois[name] = _patches(place, cortex & ~early, hemisphere, patches, territory.sum())
    for name, where in PARCELLED.items():
        area = territory if where == "visual" else cortex
        rois[name] = _parcels(place, area, hemisphere, len(LABELS[name]), rng)
    rois["fVTC"] = np.isin(rois["streams"], (2, 5)).astype(int)
    rois = {name: np.where(cortex, rois[name], -1).astype(np.int16) for name in LABELS}
    return Anatomy(brain, hemisphere, rois, fields)


def _lowest(score, inside, count):
    chosen = np.flatnonzero(inside)
    mask = np.zeros(score.shape, bool)
    mask.flat[chosen[np.argsort(score.flat[chosen], kind="stable")[:count]]] = True
    return mask


def _early_areas(place, territory):
    """Rings around the occipital pole: mask of the early voxels and the labels of prf-visualrois."""
    x, y, z = np.moveaxis(place, -1, 0)
    from_pole = np.sqrt(x**2 + z**2) + 0.5 * (y + 1)
    labels = np.zeros(y.shape, int)
    for k, (name, share) in enumerate(EARLY.items()):
        free = territory & (labels == 0)
        ring = _lowest(from_pole, free & (z < 0) if name == "hV4" else free, round(share * territory.sum()))
        labels[ring] = 7 if name == "hV4" else 2 * k + 1 + (z[ring] >= 0)
    return labels > 0, labels


def _receptive_fields(place, labels, hemisphere):
    """Ventral voxels see the upper and dorsal voxels the lower quarter of the opposite side; hV4 sees both."""
    x, y, z = np.moveaxis(place, -1, 0)
    from_pole, elevation = np.sqrt(x**2 + z**2) + 0.5 * (y + 1), np.arctan2(z, np.abs(x))
    fields = np.full((*labels.shape, 3), np.nan, np.float32)
    for side in (1, 2):
        for label in np.unique(labels[labels > 0]):
            here = (labels == label) & (hemisphere == side)
            eccentricity = 0.62 * _ranks(from_pole[here])  # half of the picture's width, and a little of its corners
            turn = _ranks(elevation[here])  # 0 lowest on the cortex, 1 highest
            angle = (turn - 0.5) * np.pi if label == 7 else (turn - (label % 2)) * np.pi / 2
            towards = 1 if side == 1 else -1
            centre_x = 0.5 + towards * eccentricity * np.cos(angle)
            centre_y = 0.5 + eccentricity * np.sin(angle)
            size = (0.05 + 0.10 * eccentricity) * (1, 1.2, 1.5, 2)[(label - 1) // 2]
            fields[here] = np.stack([centre_x, centre_y, size], axis=-1).clip(0.02, 0.98)
    return fields


def _ranks(values):
    return (np.argsort(np.argsort(values, kind="stable"), kind="stable") + 0.5) / max(len(values), 1)


def _streams(place, territory, visual_areas):
    x, y, z = np.moveaxis(place, -1, 0)
    labels = np.zeros(y.shape, int)
    labels[(visual_areas >= 1) & (visual_areas <= 6)] = 1
    elevation = np.degrees(np.arctan2(z, np.abs(x)))
    rest = territory & (visual_areas == 0)
    sectors = (elevation < -25, (elevation >= -25) & (elevation < 30), elevation >= 30)
    for k, sector in enumerate(sectors):
        here = rest & sector
        labels[here] = 5 + k
        labels[_lowest(y, here, round(0.35 * here.sum()))] = 2 + k
    labels[visual_areas == 7] = 2
    return labels


def _patches(place, free, hemisphere, patches, territory_size):
    labels = np.zeros(free.shape, int)
    for label, (across, forward, up, share) in enumerate(patches, start=1):
        for side in (1, 2):
            centre = np.array([-across if side == 1 else across, forward, up])
            distance = np.linalg.norm(place - centre, axis=-1)
            open_here = free & (hemisphere == side) & (labels == 0)
            labels[_lowest(distance, open_here, max(2, round(share * territory_size / 2)))] = label
    return labels


def _parcels(place, area, hemisphere, count, rng):
    """Nearest of `count` random voxels, with the same numbers in both hemispheres."""
    labels = np.zeros(area.shape, int)
    for side in (1, 2):
        here = area & (hemisphere == side)
        points = place[here]
        seeds = points[rng.permutation(len(points))[:count]]
        labels[here] = cKDTree(seeds).query(points)[1] + 1
    return labels
