"""Synthetic labelled volumes: random regions, ellipsoids and tubes with random intensities, texture and artefacts.

After Billot et al., "SynthSeg" (2023), and Dey et al., "Learning general-purpose biomedical volume representations
using randomized synthesis" (2025). No image of a patient is used, so weights trained on them are free of its licence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fewshot_annotate.core.slice_axis import SliceAxis
from fewshot_annotate.core.support import Support
from fewshot_annotate.core.volume import Geometry, Volume
from scipy import ndimage

SPACINGS = (3, 4, 6, 8, 8, 10, 12, 14)
MAX_LABELS = 6


@dataclass(frozen=True)
class LabelledVolume:
    """A synthetic volume with a few labelled slices.

    Attributes
    ----------
    volume : Volume
    truth : uint8 ndarray, shape [n, h, w]
        Labels 1, 2, ...; 0 is background.
    support : Support
        Every n-th slice is labelled.
    """

    volume: Volume
    truth: np.ndarray
    support: Support


def labelled_volume(rng: np.random.Generator) -> LabelledVolume:
    """A random volume in which at least three slices are labelled, none of the inner ones empty."""
    while True:
        image, truth, slice_thickness = _image_and_truth(rng)
        spacing = int(rng.choice(SPACINGS))
        labelled = range(int(rng.integers(0, spacing)), len(image), spacing)
        if len(labelled) < 3 or not all((truth[index] > 0).any() for index in labelled[1:-1]):
            continue
        shown = np.unique(truth[list(labelled)])
        shown = shown[shown > 0]
        if len(shown):
            break
    new_values = np.zeros(MAX_LABELS + 1, dtype=np.uint8)
    new_values[shown] = np.arange(1, len(shown) + 1)
    truth = new_values[truth]
    count = len(shown)
    support = Support(
        SliceAxis(0),
        tuple(labelled),
        truth[list(labelled)],
        tuple(range(1, count + 1)),
        np.ones((len(labelled), count), dtype=bool),
    )
    geometry = Geometry(image.shape, (1.0, 1.0, slice_thickness))
    return LabelledVolume(Volume(image, geometry), truth, support)


def _image_and_truth(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Image, labels, and the slice thickness in pixels."""
    shape = (int(rng.integers(20, 44)), *(int(side) for side in rng.integers(64, 129, 2)))
    slices_per_pixel = rng.uniform(0.15, 1.0)
    regions, backgrounds, count = _regions(rng, shape, slices_per_pixel)
    image = _image(rng, regions, count, slices_per_pixel)
    return image, _chosen_labels(rng, regions, backgrounds, count), 1 / slices_per_pixel


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigmas: tuple[float, ...]) -> np.ndarray:
    """Noise of unit variance that varies over about `sigmas` voxels, float32."""
    grid = [max(2, int(np.ceil(side / sigma)) + 1) for side, sigma in zip(shape, sigmas, strict=True)]
    coarse = rng.normal(size=grid)
    factors = [side / points for side, points in zip(shape, grid, strict=True)]
    noise = ndimage.zoom(coarse, factors, order=3, mode="nearest", grid_mode=True)
    noise = noise[tuple(slice(0, side) for side in shape)]
    noise = np.pad(noise, [(0, side - found) for side, found in zip(shape, noise.shape, strict=True)], mode="edge")
    return (noise / (noise.std() + 1e-6)).astype(np.float32)


def _regions(
    rng: np.random.Generator, shape: tuple[int, int, int], slices_per_pixel: float
) -> tuple[np.ndarray, int, int]:
    """Region of each voxel, how many regions are background, and how many there are; the others are objects."""
    backgrounds = int(rng.integers(3, 10))
    size = rng.uniform(14, 45)
    fields = [
        _smooth_noise(rng, shape, (max(2.0, size * slices_per_pixel * rng.uniform(0.5, 1.2)), size, size))
        for _ in range(backgrounds)
    ]
    regions = np.stack(fields).argmax(axis=0).astype(np.int16)
    grid = np.stack(np.meshgrid(*(np.arange(side, dtype=np.float32) for side in shape), indexing="ij"))
    following = backgrounds
    for _ in range(int(rng.integers(2, 10))):
        bends = [
            _smooth_noise(rng, shape, (max(2.0, 18 * slices_per_pixel), 18, 18)) * rng.uniform(0, 5) for _ in range(2)
        ]
        is_ellipsoid = rng.random() < 0.6
        bent = np.stack([grid[0], grid[1] + bends[0], grid[2] + bends[1]])
        centre = [share * side for share, side in zip(_centre(rng), shape, strict=True)]
        if is_ellipsoid:
            distance = _ellipsoid_distance(rng, bent, centre, slices_per_pixel)
            regions[distance < 1] = following
            following += 1
            if rng.random() < 0.4:  # a wall around a cavity
                regions[distance < rng.uniform(0.4, 0.85)] = following
                following += 1
        else:
            regions[_tube(rng, bent, centre, slices_per_pixel)] = following
            following += 1
    return regions, backgrounds, following


def _centre(rng: np.random.Generator) -> tuple[float, float, float]:
    return rng.uniform(0.1, 0.9), rng.uniform(0.15, 0.85), rng.uniform(0.15, 0.85)


def _ellipsoid_distance(
    rng: np.random.Generator, grid: np.ndarray, centre: list[float], slices_per_pixel: float
) -> np.ndarray:
    """Distance from the centre of an oblique ellipsoid; 1 on its surface."""
    radius = np.exp(rng.uniform(np.log(3), np.log(min(grid.shape[2:]) / 3), 1))[0]
    row_radius, column_radius = radius * rng.uniform(0.6, 1.5, 2)
    slice_radius = max(2.5, radius * slices_per_pixel * rng.uniform(0.6, 2.0))
    angle = rng.uniform(0, np.pi)
    shear = rng.normal(0, 0.5, 2) / max(slices_per_pixel, 0.2)
    along = grid[0] - centre[0]
    down, across = grid[1] - centre[1] - shear[0] * along, grid[2] - centre[2] - shear[1] * along
    first = down * np.cos(angle) + across * np.sin(angle)
    second = -down * np.sin(angle) + across * np.cos(angle)
    distance: np.ndarray = np.sqrt(
        (first / row_radius) ** 2 + (second / column_radius) ** 2 + (along / slice_radius) ** 2
    )
    return distance


def _tube(rng: np.random.Generator, grid: np.ndarray, centre: list[float], slices_per_pixel: float) -> np.ndarray:
    """Voxels of a winding tube along the slices; one in two ends within the volume."""
    count = grid.shape[1]
    slices = np.arange(count)

    def winding(sigma: float) -> np.ndarray:
        return _smooth_noise(rng, (count, 2, 2), (max(2.0, sigma * slices_per_pixel), 2, 2))[:, 0, 0]

    radius = np.exp(rng.uniform(np.log(1.8), np.log(9)))
    rows, columns = (
        middle
        + winding(25) * rng.uniform(2, 12)
        + rng.normal(0, 0.4) / max(slices_per_pixel, 0.2) * (slices - centre[0])
        for middle in centre[1:]
    )
    radii = radius * np.exp(0.25 * winding(15))
    rows, columns, radii = (values[:, None, None] for values in (rows, columns, radii))
    inside: np.ndarray = (grid[1] - rows) ** 2 + (grid[2] - columns) ** 2 < radii**2
    if rng.random() < 0.5:
        first = rng.integers(0, count // 2)
        end = rng.integers(count // 2, count + 1)
        inside[:first] = False
        inside[end:] = False
    return inside


def _image(rng: np.random.Generator, regions: np.ndarray, count: int, slices_per_pixel: float) -> np.ndarray:
    """Intensities of the regions, with texture, blur, bias field, noise, clipping and gamma, float32."""
    shape = regions.shape
    means = rng.uniform(0, 1, count)
    if rng.random() < 0.5:  # some regions look alike
        means = np.round(means * 6) / 6 + rng.normal(0, 0.03, count)
    image = means[regions].astype(np.float32)
    for _ in range(int(rng.integers(0, 3))):
        size = np.exp(rng.uniform(np.log(1.5), np.log(12)))
        texture = _smooth_noise(rng, shape, (max(1.0, size * slices_per_pixel), size, size))
        image += texture * rng.uniform(0, 0.12, count)[regions].astype(np.float32)
    image = ndimage.gaussian_filter(image, (rng.uniform(0, 0.5), *(2 * [rng.uniform(0.2, 1.3)])))
    if rng.random() < 0.6:
        image *= np.exp(rng.uniform(0, 0.3) * _smooth_noise(rng, shape, (max(3.0, 60 * slices_per_pixel), 60, 60)))
    if rng.random() < 0.3:  # slices of different brightness
        image += rng.normal(0, rng.uniform(0, 0.05), shape[0])[:, None, None]
    noise = rng.normal(size=shape).astype(np.float32)
    if rng.random() < 0.5:
        noise = ndimage.gaussian_filter(noise, (0, 0.6, 0.6))
        noise /= noise.std()
    image += noise * rng.uniform(0.005, 0.12)
    if rng.random() < 0.3:
        image = np.clip(image, *np.quantile(image, [rng.uniform(0, 0.1), rng.uniform(0.9, 1)]))
    if rng.random() < 0.3:
        image = np.sign(image) * np.abs(image) ** rng.uniform(0.6, 1.6)
    return image.astype(np.float32)


def _chosen_labels(rng: np.random.Generator, regions: np.ndarray, backgrounds: int, count: int) -> np.ndarray:
    """Labels of some regions, objects rather than parts of the background, as 1, 2, ...; 0 elsewhere."""
    sizes = np.bincount(regions.ravel(), minlength=count)
    usable = [region for region, size in enumerate(sizes) if 60 < size < 0.3 * regions.size]
    objects = [region for region in usable if region >= backgrounds]
    wanted = int(rng.integers(1, MAX_LABELS + 1))
    chosen = list(rng.permutation(objects)[:wanted])
    if len(chosen) < wanted and rng.random() < 0.7:
        others = [region for region in usable if region not in chosen]
        chosen += list(rng.permutation(others)[: wanted - len(chosen)])
    truth = np.zeros(regions.shape, dtype=np.uint8)
    for label, region in enumerate(chosen, start=1):
        truth[regions == region] = label
    return truth
