"""Tissue features on the working grid, their noise, and where tissue is homogeneous."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant.acquisition import BoolArray, FloatArray
from quant.liver import dictionary
from quant.liver.images import FINE_PIXELS, Stack, WorkingImages
from quant.liver.parameters import FinderParameters
from quant.liver.plane import Plane, keep_sized, median, square
from quant.liver.torso import Torso, distance_to_wall

R2STAR_OFFSET_PER_S = 30.0  # ln(R2* + 30) spreads tissues evenly from 20 to 2000 1/s
_EDGE_LENGTH_MM = 4.0  # edge units count change per this length
_EDGE_SIGMA_MM = 1.8
_NOISY_EDGE_SIGMA_MM = 4.2  # where R2* is high and noisy a coarser scale decides
_NOISY_R2STAR_PER_S, _NOISY_LOG_SD, _NOISY_EDGE_LOG_R2STAR = 350.0, 0.12, 0.22
_SIMULATED_PIXELS = 600  # for the scatter of R2* by noise
_SHADING_SIGMA_MM = 45.0  # receive coils vary more slowly than this


@dataclass(frozen=True, kw_only=True)
class Tissue:
    """Features (z, y, x): vessel-suppressed R2* (1/s), fat fraction, ``density`` (S0 over the body's, shading
    corrected), natural logarithms of first echo, R2* + 30 and density; ``log_r2star_sd3`` is three noise SDs of
    ``log_r2star``. ``wall_mm`` is the distance to the inner body wall, ``lean`` solid tissue that is neither fat nor
    lung nor wall, ``edge`` the gradient in edge units, ``homogeneous`` lean tissue without edges. ``body_s0`` is the
    median S0 of the body's tissue that is neither fat nor dark.
    """

    s0: Stack
    body_s0: float
    r2star_per_s: Stack
    fat_fraction: Stack
    density: Stack
    log_s1: Stack
    log_r2star: Stack
    log_density: Stack
    log_r2star_sd3: Stack
    wall_mm: Stack
    lean: BoolArray
    edge: Stack
    homogeneous: BoolArray


@dataclass(frozen=True, kw_only=True)
class Change:
    """In-plane change of the features per 4 mm, (z, y, x)."""

    log_s1: FloatArray
    log_r2star: FloatArray
    fat_fraction: FloatArray

    @staticmethod
    def of(log_s1: Stack, log_r2star: Stack, fat_fraction: Stack, plane: Plane, sigma_mm: float) -> "Change":
        """After a Gaussian of ``sigma_mm``."""

        def change(feature: Stack) -> FloatArray:
            return plane.gradient(feature, sigma_mm) * _EDGE_LENGTH_MM

        return Change(log_s1=change(log_s1), log_r2star=change(log_r2star), fat_fraction=change(fat_fraction))


@dataclass(frozen=True, kw_only=True)
class FittedBody:
    """Features that do not depend on the edge thresholds, so that perturbed searches share them.

    Fields as in ``Tissue``; ``log_s1_sd3`` is three noise SDs of ``log_s1``; ``noisy`` marks high and noisy R2*.
    ``coarse_change`` is at the coarser scale that decides there, ``None`` where nothing is noisy.
    """

    s0: Stack
    body_s0: float
    r2star_per_s: Stack
    fat_fraction: Stack
    density: Stack
    log_s1: Stack
    log_r2star: Stack
    log_s1_sd3: Stack
    log_r2star_sd3: Stack
    noisy: BoolArray
    change: Change
    coarse_change: Change | None
    wall_mm: Stack
    lean: BoolArray


def fit_body(images: WorkingImages, torso: Torso, parameters: FinderParameters) -> FittedBody:
    """Matches the vessel-suppressed echoes in the torso and derives the features."""
    s0, r2star, fat = fit_at(images, torso.mask, images.suppressed[:, torso.mask])
    first = images.first_echo
    wall = distance_to_wall(torso, fat, images.plane, parameters)
    body_s0 = _body_s0(images, torso, s0, r2star, fat)
    density = np.asarray(s0 / _lean_s0(images, torso, s0, body_s0), np.float32)
    smooth_fat = median(fat, square(3))
    lean = (
        torso.mask
        & (density > parameters.min_relative_density)
        & (first > parameters.min_first_echo_snr * images.suppressed_sd)
        & (s0 > 3 * images.sigma)
        & (smooth_fat < parameters.lean_fat_fraction)
        & (wall > parameters.wall_distance_scaled_mm * torso.scale)
    )
    r2star_sd3 = _median5(3 * log_r2star_sd(images, s0, r2star, images.suppressed_sd, ceiling=0.5))
    s1_sd3 = 3 * images.suppressed_sd / np.maximum(first, images.suppressed_sd)
    log_s1 = np.log(np.maximum(first, images.suppressed_sd))
    log_r2star = np.log(r2star + np.float32(R2STAR_OFFSET_PER_S))
    noisy = (r2star_sd3 > _NOISY_LOG_SD) & (_median5(r2star) > _NOISY_R2STAR_PER_S)

    def change(sigma_mm: float, pixels: float) -> Change:
        plane = images.plane
        return Change.of(log_s1, log_r2star, smooth_fat, plane, max(sigma_mm, pixels * plane.pixel_mm))

    return FittedBody(
        s0=s0,
        body_s0=body_s0,
        r2star_per_s=r2star,
        fat_fraction=smooth_fat,
        density=density,
        log_s1=log_s1,
        log_r2star=log_r2star,
        log_s1_sd3=_median5(s1_sd3),
        log_r2star_sd3=r2star_sd3,
        noisy=noisy,
        change=change(_EDGE_SIGMA_MM, 0.6),
        coarse_change=change(_NOISY_EDGE_SIGMA_MM, 1.2) if noisy.any() else None,
        wall_mm=wall,
        lean=lean,
    )


def fit_at(images: WorkingImages, mask: BoolArray, magnitudes: FloatArray) -> tuple[Stack, Stack, Stack]:
    """S0, R2* and fat fraction (z, y, x) from ``magnitudes`` (e, n) in ``mask``; outside 0, the lowest R2*, 0."""
    found = dictionary.match(_signed(magnitudes, images).T, images.echo_times_s, images.field_t)
    s0, fat = np.zeros(mask.shape, np.float32), np.zeros(mask.shape, np.float32)
    r2star = np.full(mask.shape, np.exp(dictionary.LOG_R2STAR[0]), np.float32)
    s0[mask], r2star[mask], fat[mask] = found.s0, found.r2star_per_s, found.fat_fraction
    return s0, r2star, fat


def fit_one(images: WorkingImages, magnitudes: FloatArray) -> dictionary.Match:
    """Match of one decay (e,), a median of ``fine`` or ``suppressed`` images."""
    return dictionary.match(_signed(magnitudes[:, None], images).T, images.echo_times_s, images.field_t)


def _signed(magnitudes: FloatArray, images: WorkingImages) -> Stack:
    """Magnitudes (e, n) freed of the noise floor, below it with a minus sign: echoes of noise alone average to zero.

    Cut at zero they would leave a tail that makes dark liver look less dark.
    """
    power = magnitudes.astype(np.float32) ** 2 - np.float32(images.floor_power)
    return np.asarray(np.copysign(np.sqrt(np.abs(power)), power), np.float32)


def log_r2star_sd(images: WorkingImages, s0: FloatArray, r2star: FloatArray, noise_sd: float, ceiling: float) -> Stack:
    """Expected SD of ln(R2* + 30) from noise (Cramer-Rao bound), at most ``ceiling``."""
    levels = np.exp(dictionary.LOG_R2STAR)
    bound = dictionary.r2star_precision(levels, images.echo_times_s)
    unit_sd = np.interp(np.log(np.maximum(r2star, levels[0])), dictionary.LOG_R2STAR, bound)
    sd = unit_sd * noise_sd / np.maximum(s0, images.sigma) / (r2star + R2STAR_OFFSET_PER_S)
    return np.asarray(np.minimum(sd, ceiling), np.float32)


def noisy_log_r2star(images: WorkingImages, decay: dictionary.Match) -> npt.NDArray[np.float32]:
    """ln(R2* + 30) of many pixels of the fine images that hold this one decay and noise.

    Echoes near the noise scatter more than the bound of ``log_r2star_sd`` says, the more the more coils are combined.
    """
    generator = np.random.default_rng(0)  # the same noise at every search
    fat = float(decay.fat_fraction[0])
    phasor = dictionary.fat_phasor(images.echo_times_s, images.field_t)
    clean = decay.s0[0] * np.abs(1 - fat + fat * phasor) * np.exp(-decay.r2star_per_s[0] * images.echo_times_s)
    averaged, size = images.blocks[0] * images.blocks[1], (FINE_PIXELS, _SIMULATED_PIXELS, len(clean))
    power = generator.noncentral_chisquare(2 * images.coils * averaged, averaged * (clean / images.sigma) ** 2, size)
    magnitudes = images.sigma * np.sqrt(np.median(power, axis=0) / averaged)
    found = dictionary.match(_signed(magnitudes.T, images).T, images.echo_times_s, images.field_t)
    return np.asarray(np.log(found.r2star_per_s + R2STAR_OFFSET_PER_S), np.float32)


def _is_tissue(images: WorkingImages, torso: Torso) -> BoolArray:
    return torso.mask & (images.early > torso.tissue_level)


def _body_s0(images: WorkingImages, torso: Torso, s0: Stack, r2star: Stack, fat: Stack) -> float:
    typical = _is_tissue(images, torso) & (fat < 0.5) & (r2star < 400)
    return float(np.median(s0[typical if typical.sum() > 50 else torso.mask]))


def _lean_s0(images: WorkingImages, torso: Torso, s0: Stack, body_s0: float) -> FloatArray:
    """S0 that lean tissue has here: half the body's median, half the surroundings' mean (receive shading)."""
    weight = (_is_tissue(images, torso) & (s0 < 4 * body_s0)).astype(np.float32)
    smooth = images.plane.smooth
    local = smooth(s0 * weight, _SHADING_SIGMA_MM) / np.maximum(smooth(weight, _SHADING_SIGMA_MM), 0.05)
    return np.maximum(0.5 * local + 0.5 * body_s0, 1e-6 * max(body_s0, images.sigma))


def find_homogeneous(body: FittedBody, plane: Plane, parameters: FinderParameters) -> Tissue:
    """Edges in units of the (noise-aware) thresholds, and the lean tissue without them."""
    edge = _edges(body, plane, parameters)
    homogeneous = body.lean & (edge < 1)
    speck_pixels = max(parameters.speck_mm2 / plane.pixel_mm2, 3.1)
    homogeneous |= keep_sized(body.lean & ~homogeneous, below_pixels=speck_pixels)
    return Tissue(
        s0=body.s0,
        body_s0=body.body_s0,
        r2star_per_s=body.r2star_per_s,
        fat_fraction=body.fat_fraction,
        density=body.density,
        log_s1=body.log_s1,
        log_r2star=body.log_r2star,
        log_density=np.log(np.maximum(body.density, 0.05)).astype(np.float32),
        log_r2star_sd3=body.log_r2star_sd3,
        wall_mm=body.wall_mm,
        lean=body.lean,
        edge=edge,
        homogeneous=homogeneous,
    )


def _edges(body: FittedBody, plane: Plane, parameters: FinderParameters) -> Stack:
    gain = min(_EDGE_LENGTH_MM / (np.sqrt(2) * plane.pixel_mm), 1.0) * parameters.edge_noise_factor / 3
    s1_limit = np.hypot(parameters.edge_log_s1, gain * body.log_s1_sd3)
    r2star_limit = np.hypot(parameters.edge_log_r2star, gain * body.log_r2star_sd3)
    change = body.change
    edge = np.sqrt(
        (change.log_s1 / s1_limit) ** 2
        + (change.log_r2star / r2star_limit) ** 2
        + 0.5 * (change.fat_fraction / parameters.edge_fat) ** 2
    )
    if body.coarse_change is not None:
        r2star_limit = np.maximum(r2star_limit, _NOISY_EDGE_LOG_R2STAR)
        coarse = np.hypot(body.coarse_change.log_s1 / s1_limit, body.coarse_change.log_r2star / r2star_limit)
        edge = np.where(body.noisy, coarse, edge)
    return np.asarray(edge, np.float32)


def _median5(image: FloatArray) -> Stack:
    return median(image, square(5))
