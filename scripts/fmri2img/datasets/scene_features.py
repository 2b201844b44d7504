"""Features that the simulated cortex responds to: local contrast energy, colour, and the meaning of the scene."""

import numpy as np
from PIL import Image
from scipy.fft import fft2, ifft2
from scipy.linalg import eigh

from fmri2img.datasets.scenes import CATEGORIES, Scene, describe

SIDE = 32  # pixels of the picture from which energies are computed
GRID = 8  # positions along each side of the picture
WAVELENGTHS = (3.0, 6.0, 12.0)  # pixels of SIDE
ORIENTATIONS = 4
ENERGIES = len(WAVELENGTHS) * ORIENTATIONS
COLOUR_CHANNELS = 3  # luminance, red-green, blue-yellow, each signed
CHANNELS = ENERGIES + COLOUR_CHANNELS
BATCH = 250

LATENTS = 48
INDOORS = ("kitchen", "living room")


def standardised(columns: np.ndarray, known: int | None = None) -> np.ndarray:
    """Each column with mean 0 and standard deviation 1 over the rows; constant columns become 0. float32.

    known: number of the leading rows that mean and deviation come from; None: all. The functions below have it too.
    """
    centred = columns - columns[:known].mean(axis=0)
    deviation = centred[:known].std(axis=0)
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 1e-9).astype(np.float32)


def pixel_features(images: np.ndarray, known: int | None = None) -> np.ndarray:
    """images uint8 (stimuli, height, width, 3) -> (stimuli, GRID * GRID * CHANNELS) float32, standardised.

    At each position of an 8 x 8 grid: contrast energy of a quadrature pair of Gabor filters at three scales and four
    orientations (the energy model of complex cells, Adelson & Bergen 1985), then luminance, red-green and blue-yellow.
    Columns run over positions row by row, channels fastest.
    """
    resized = [Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX) for image in images]
    small = np.stack([np.asarray(image) for image in resized])
    filters = _gabor_spectra()
    features = np.empty((len(images), GRID, GRID, CHANNELS), np.float32)
    for first in range(0, len(images), BATCH):
        red, green, blue = np.moveaxis(small[first : first + BATCH].astype(np.float32) / 255, -1, 0)
        luminance = (red + green + blue) / 3
        spectrum = fft2(luminance - luminance.mean(axis=(1, 2), keepdims=True))
        here = features[first : first + BATCH]
        for channel, gabor in enumerate(filters):
            here[..., channel] = _by_place(np.abs(ifft2(spectrum * gabor)))
        for channel, signal in enumerate((luminance, red - green, blue - (red + green) / 2), start=ENERGIES):
            here[..., channel] = _by_place(signal)
    return standardised(features.reshape(len(images), -1), known)


def components(columns: np.ndarray, known: int | None = None) -> np.ndarray:
    """The first LATENTS principal components of standardised columns, standardised too, (stimuli, <= LATENTS)."""
    size, rows = columns.shape[1], columns[:known]
    covariance = rows.astype(np.float64).T @ rows / len(rows)
    values, directions = eigh(covariance, subset_by_index=(max(0, size - LATENTS), size - 1))
    directions = directions[:, ::-1][:, values[::-1] > 1e-8 * values[-1]]
    # The sign of a direction is arbitrary: fix it.
    largest = np.abs(directions).argmax(axis=0)
    directions *= np.sign(directions[largest, np.arange(directions.shape[1])])
    return standardised(columns @ directions, known)


def _gabor_spectra():
    """Fourier transforms of complex Gabor filters, (SIDE, SIDE) float32 each: Gaussians around one frequency."""
    fy, fx = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), indexing="ij")
    spectra = []
    for wavelength in WAVELENGTHS:
        for angle in np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS:
            away = (fx - np.cos(angle) / wavelength) ** 2 + (fy - np.sin(angle) / wavelength) ** 2
            spectra.append(np.exp(-away / (2 * (0.4 / wavelength) ** 2)).astype(np.float32))
    return spectra


def _by_place(maps):
    block = SIDE // GRID
    return maps.reshape(len(maps), GRID, block, GRID, block).mean(axis=(2, 4))


def receptive_fields(fields: np.ndarray) -> np.ndarray:
    """fields (voxels, 3) centre x, y and standard deviation -> weights over positions (voxels, GRID * GRID), sum 1."""
    centres = (np.arange(GRID) + 0.5) / GRID
    x, y, size = fields.T[:, :, None]
    across = np.exp(-((centres - x) ** 2) / (2 * size**2))
    down = np.exp(-((centres - y) ** 2) / (2 * size**2))
    weights = (down[:, :, None] * across[:, None, :]).reshape(len(fields), -1)
    return weights / weights.sum(axis=1, keepdims=True)


def semantic_latents(scenes: list[Scene | None], known: int | None = None) -> np.ndarray:
    """The meaning of each scene in the space that all subjects share, (stimuli, at most LATENTS) float32.

    Principal components of `scenes.describe`, standardised. None, of a picture without meaning, has the mean of the
    others.
    """
    described = np.stack([describe(scene) for scene in scenes if scene is not None]).astype(np.float64)
    meanings = np.tile(described[:known].mean(axis=0), (len(scenes), 1))
    meanings[[scene is not None for scene in scenes]] = described
    return components(standardised(meanings, known), known)


def preferences(scenes: list[Scene]) -> dict[str, np.ndarray]:
    """What category-selective regions prefer: region family -> (stimuli,) float32, standardised."""
    animals = [sum(CATEGORIES[item.category] == "animal" for item in scene.objects) for scene in scenes]
    outdoors = [scene.background not in INDOORS for scene in scenes]
    columns = standardised(np.array([animals, outdoors], float).T)
    return {"floc-faces": columns[:, 0], "floc-bodies": columns[:, 0], "floc-places": columns[:, 1]}
