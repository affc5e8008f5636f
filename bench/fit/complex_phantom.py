"""Volumes of known water, fat, R2* and field for the complex fit, independent of ``quant``.

``make_volume`` is a body section: a ring of subcutaneous fat, muscle, a liver of tiles (R2* 25 to 2000 1/s by PDFF 0 to
40 %, in random order) or of one kind, a spleen, a gas pocket, a lung dome without signal above the liver, and air. The
field is shim terms, a dome term and that of the gas, all of random strength, scaled so that the 99th percentile of its
gradient per pixel in the plane, inside the body, is ``severity`` of the field period 1 / (mean echo spacing).
``make_patch`` is one kind of tissue in a weak field, for bias and scatter. ``jump_ppm`` sets the field of the liver
apart from that around it, as lung does around the dome of a real one, across a rim of weak signal that no model
explains (it is not scored).

SNR is S0 of liver over the noise SD of one real component, at TE = 0.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt

GYROMAGNETIC_MHZ_PER_T = 42.577478518
# Hamilton 2011, 10.1002/nbm.1622, in the rounded form of the ISMRM toolbox: ppm from water, relative amplitude.
FAT_PPM = (-3.80, -3.40, -2.60, -1.94, -0.39, 0.60)
FAT_PARTS = (0.087, 0.693, 0.128, 0.004, 0.039, 0.048)

AIR, FAT, MUSCLE, LIVER, SPLEEN = range(5)
TISSUES = {"fat": FAT, "muscle": MUSCLE, "liver": LIVER, "spleen": SPLEEN}
R2STAR_TILES_PER_S = (25.0, 50.0, 100.0, 200.0, 350.0, 500.0, 700.0, 1000.0, 1400.0, 2000.0)
PDFF_TILES = (0.0, 0.05, 0.10, 0.20, 0.40)
SEVERITIES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.10)
_AIR_PPM = 9.4  # susceptibility of tissue against air
_WIDTH_MM = 410.0
_HALF_BODY_MM = (172.0, 122.0)  # along x, y
_LIVER_S0 = 900.0
_RIM_PIXELS = 3
_RIM_S0 = 150.0
_RIM_PHASE = 0.3  # radians of scatter, echo by echo
_TURN = 2j * np.pi

Parts = Literal["one", "split", "arms"]


@dataclass(frozen=True)
class Protocol:
    """Field strength and echo times."""

    name: str
    field_t: float
    echo_times_s: tuple[float, ...]

    @property
    def times(self) -> np.ndarray:
        return np.array(self.echo_times_s)

    @property
    def period_hz(self) -> float:
        """Field after which evenly spaced echoes look the same; of uneven ones, from the mean spacing."""
        return float(1 / np.diff(self.times).mean())

    @property
    def even(self) -> bool:
        steps = np.diff(self.times)
        return bool(np.allclose(steps, steps[0]))

    def fat(self) -> np.ndarray:
        """Complex signal (e,) of unit fat relative to water."""
        hz = np.array(FAT_PPM) * GYROMAGNETIC_MHZ_PER_T * self.field_t
        parts = np.array(FAT_PARTS) / sum(FAT_PARTS)
        return np.exp(_TURN * self.times[:, None] * hz) @ parts


def _even_protocol(name: str, field_t: float, first_ms: float, step_ms: float, echoes: int) -> Protocol:
    return Protocol(name, field_t, tuple(1e-3 * (first_ms + step_ms * k) for k in range(echoes)))


def _uneven_protocol(name: str, field_t: float, times_ms: tuple[float, ...]) -> Protocol:
    return Protocol(name, field_t, tuple(1e-3 * t for t in times_ms))


EVEN = {
    p.name: p
    for p in (
        _even_protocol("1.5T/6", 1.5, 1.20, 1.10, 6),
        _even_protocol("1.5T/12", 1.5, 0.99, 1.05, 12),
        _even_protocol("3T/6", 3.0, 0.95, 0.75, 6),
        _even_protocol("3T/12", 3.0, 0.95, 0.75, 12),
    )
}
UNEVEN = {
    p.name: p
    for p in (
        _uneven_protocol("1.5T/6 trains", 1.5, (1.2, 1.9, 3.4, 4.1, 5.6, 6.3)),
        _uneven_protocol("3T/6 dropped", 3.0, (0.95, 1.70, 2.45, 3.95, 4.70, 5.45)),
        _uneven_protocol("3T/8 irregular", 3.0, (0.95, 1.70, 2.50, 3.15, 4.05, 4.70, 5.55, 6.20)),
    )
}
# Spacing near half the beat of water and fat, as in the ISMRM 2012 challenge: exchanged, they look alike.
LONG = {p.name: p for p in (_even_protocol("1.5T/4 long", 1.5, 1.744, 3.076, 4),)}
PROTOCOLS = EVEN | UNEVEN | LONG


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """``signal`` (z, y, x, e) complex64 with its truth (z, y, x); ``pdff`` and ``r2star_per_s`` mean nothing in air."""

    protocol: Protocol
    signal: np.ndarray
    r2star_per_s: np.ndarray
    pdff: np.ndarray
    b0_hz: np.ndarray
    label: np.ndarray
    sigma: float
    snr: float
    voxel_size_mm: tuple[float, float, float]
    severity: float = 0.0

    @property
    def body(self) -> np.ndarray:
        return self.label != AIR


def clean_signal(
    protocol: Protocol, s0: np.ndarray, r2star_per_s: np.ndarray, pdff: np.ndarray, b0_hz: np.ndarray, phase: np.ndarray
) -> np.ndarray:
    """Noise-free complex signal, echoes last; water and fat start with the same phase."""
    s0, r2star_per_s, pdff, b0_hz, phase = (
        np.asarray(a, dtype=np.float64)[..., None] for a in (s0, r2star_per_s, pdff, b0_hz, phase)
    )
    times = protocol.times
    mix = (1 - pdff) + pdff * protocol.fat()
    return s0 * mix * np.exp((_TURN * b0_hz - r2star_per_s) * times + 1j * phase)


def _noisy(clean: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal((*clean.shape, 2), dtype=np.float32)
    return (clean + sigma * (noise[..., 0] + 1j * noise[..., 1])).astype(np.complex64)


def make_patch(
    protocol: Protocol, *, r2star_per_s: float, pdff: float, snr: float, side: int = 56, seed: int = 0
) -> Phantom:
    """One slice of ``side`` squared voxels of one kind of tissue, the field and the phase nearly flat."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    slope, phases = rng.uniform(-0.05, 0.05, 2) * protocol.period_hz, rng.uniform(-1, 1, 3)
    b0_hz = rng.uniform(-0.3, 0.3) * protocol.period_hz + slope[0] * x + slope[1] * y
    flat = np.ones((1, side, side))
    clean = clean_signal(
        protocol,
        _LIVER_S0 * flat,
        r2star_per_s * flat,
        pdff * flat,
        b0_hz * flat,
        (3 * phases[0] + phases[1] * x + phases[2] * y) * flat,
    )
    sigma = _LIVER_S0 / snr
    return Phantom(
        protocol=protocol,
        signal=_noisy(clean, sigma, rng),
        r2star_per_s=r2star_per_s * flat,
        pdff=pdff * flat,
        b0_hz=b0_hz * flat,
        label=np.full(flat.shape, LIVER),
        sigma=sigma,
        snr=snr,
        voxel_size_mm=(5.0, 1.6, 1.6),
    )


def make_volume(
    protocol: Protocol,
    *,
    shape: tuple[int, int, int] = (6, 96, 96),
    severity: float = 0.02,
    snr: float = 40.0,
    seed: int = 0,
    slice_mm: float = 6.0,
    aspect: float = 1.0,
    liver_r2star_per_s: float | None = None,
    liver_pdff: float | None = None,
    parts: Parts = "one",
    bipolar: bool = False,
    reversed_precession: bool = False,
    jump_ppm: float = 0.0,
) -> Phantom:
    """A body of ``shape`` (slices, rows, columns), its pixels ``aspect`` times as high as wide."""
    rng = np.random.default_rng(seed)
    grid = _Grid.of(shape, slice_mm, aspect)
    label = _anatomy(grid, parts, rng)
    s0, r2star, pdff = _tissue(grid, label, liver_r2star_per_s, liver_pdff, rng)
    b0_hz = _field(grid, label, protocol, severity, rng)
    if jump_ppm:
        b0_hz += _set_apart(label, s0, r2star) * jump_ppm * GYROMAGNETIC_MHZ_PER_T * protocol.field_t
    weights = rng.uniform(-0.6, 0.6, 4)
    phase = 3 * weights[0] + weights[1] * grid.x / 100 + weights[2] * grid.y / 100 + weights[3] * grid.x * grid.y / 1e4
    sigma = _LIVER_S0 / snr
    signal = np.empty((*shape, protocol.times.size), np.complex64)
    for k in range(shape[0]):
        clean = clean_signal(protocol, s0[k], r2star[k], pdff[k], b0_hz[k], phase[k])
        if bipolar:
            clean *= _odd_even(grid.x[k], protocol.times.size, rng=np.random.default_rng(seed + 1))
        if jump_ppm:
            rim = (label[k] == AIR) & (s0[k] > 0)
            clean[rim] *= np.exp(1j * rng.normal(0, _RIM_PHASE, (int(rim.sum()), protocol.times.size)))
        signal[k] = _noisy(clean, sigma, rng)
    if reversed_precession:
        np.conjugate(signal, out=signal)
    return Phantom(
        protocol=protocol,
        signal=signal,
        r2star_per_s=r2star,
        pdff=pdff,
        b0_hz=-b0_hz if reversed_precession else b0_hz,
        label=label,
        sigma=sigma,
        snr=snr,
        voxel_size_mm=grid.voxel_size_mm,
        severity=severity,
    )


def gradient_share(phantom: Phantom) -> tuple[float, float]:
    """99th percentile and maximum of the field gradient per pixel in the body, as a share of the period."""
    steep = _gradient(phantom.b0_hz)[phantom.body] / phantom.protocol.period_hz
    return float(np.percentile(steep, 99)), float(steep.max())


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Positions (z, y, x) in mm from the centre, z upwards."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    voxel_size_mm: tuple[float, float, float]

    @classmethod
    def of(cls, shape: tuple[int, int, int], slice_mm: float, aspect: float) -> "_Grid":
        pixel = _WIDTH_MM / shape[2]
        size = (slice_mm, pixel * aspect, pixel)
        z, y, x = np.meshgrid(
            *(s * (np.arange(n) - (n - 1) / 2) for n, s in zip(shape, size, strict=True)), indexing="ij"
        )
        return cls(x=x, y=y, z=z, voxel_size_mm=size)

    @property
    def top(self) -> float:
        return float(self.z.max())


def _inside(grid: _Grid, centre: tuple[float, float], half: tuple[float, float], power: float = 2.0) -> np.ndarray:
    return np.abs((grid.x - centre[0]) / half[0]) ** power + np.abs((grid.y - centre[1]) / half[1]) ** power < 1


def _anatomy(grid: _Grid, parts: Parts, rng: np.random.Generator) -> np.ndarray:
    label = np.zeros(grid.x.shape, np.uint8)
    shrink = 0.72 if parts == "arms" else 1.0
    wide, high = _HALF_BODY_MM[0] * shrink, _HALF_BODY_MM[1] * shrink
    ring = rng.uniform(12, 26)
    inner = _inside(grid, (0, 0), (wide - ring, high - ring), 2.3)
    label[_inside(grid, (0, 0), (wide, high), 2.3)] = FAT
    label[inner] = MUSCLE
    shift = rng.uniform(-6, 6, 4)
    liver = _inside(grid, (-0.38 * wide + shift[0], -2 + shift[1]), (0.5 * wide, 0.66 * high))
    spleen = _inside(grid, (0.62 * wide + shift[2], 0.1 * high + shift[3]), (0.16 * wide, 0.30 * high))
    label[liver & inner] = LIVER
    label[spleen & inner] = SPLEEN
    if parts == "arms":
        for side in (-1, 1):
            arm = (side * 170.0, rng.uniform(-20, 20))
            label[_inside(grid, arm, (30, 34))] = FAT
            label[_inside(grid, arm, (22, 26))] = MUSCLE
    label[_dome(grid, wide, high) > 0] = AIR
    gas = _gas_centre(wide, high)
    label[_inside(grid, gas[:2], (18, 14))] = AIR
    if parts == "split":
        for at in (-0.05 * wide, 0.42 * wide):
            label[np.abs(grid.x - at) < 1.6 * grid.voxel_size_mm[2]] = AIR
    return label


def _gas_centre(wide: float, high: float) -> tuple[float, float, float]:
    return 0.40 * wide, -0.45 * high, 0.0


def _dome(grid: _Grid, wide: float, high: float) -> np.ndarray:
    """Depth (mm) within the lung, a ball that reaches into the highest slices; negative outside."""
    radius = 0.42 * wide
    away = np.sqrt((grid.x + 0.35 * wide) ** 2 + (grid.y + 0.1 * high) ** 2 + (grid.z - grid.top - 0.8 * radius) ** 2)
    return radius - away


def _tissue(
    grid: _Grid,
    label: np.ndarray,
    liver_r2star: float | None,
    liver_pdff: float | None,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """S0, R2* and PDFF."""
    s0 = np.choose(label, [0, 1150, 720, _LIVER_S0, 800]).astype(np.float64)
    s0 *= 1 + rng.uniform(-0.25, 0.25) * grid.y / 100 + rng.uniform(-0.1, 0.1) * grid.x / 100
    r2star = np.choose(label, [0, 40, 35, 0, 130]).astype(np.float64)
    pdff = np.choose(label, [0, 0.93, 0.03, 0, 0]).astype(np.float64)
    liver = label == LIVER
    left, right, front, back = (
        grid.x[liver].min(initial=1e9),
        grid.x[liver].max(initial=-1e9),
        grid.y[liver].min(initial=1e9),
        grid.y[liver].max(initial=-1e9),
    )
    column = _tile(grid.x, left, right, len(R2STAR_TILES_PER_S))
    row = _tile(grid.y, front, back, len(PDFF_TILES))
    turn = np.arange(label.shape[0]) // 3 * 3  # other tiles every third slice
    order = rng.permutation(len(R2STAR_TILES_PER_S))
    r2star_order = np.array(R2STAR_TILES_PER_S)[order]
    pdff_order = np.array(PDFF_TILES)[rng.permutation(len(PDFF_TILES))]
    tiles = r2star_order[(column + row + turn[:, None, None]) % r2star_order.size]
    r2star[liver] = tiles[liver] if liver_r2star is None else liver_r2star
    pdff[liver] = pdff_order[row][liver] if liver_pdff is None else liver_pdff
    return s0, r2star, pdff


def _tile(at: np.ndarray, low: float, high: float, number: int) -> np.ndarray:
    return np.clip((number * (at - low) / max(high - low, 1e-9)).astype(int), 0, number - 1)


def _field(grid: _Grid, label: np.ndarray, protocol: Protocol, severity: float, rng: np.random.Generator) -> np.ndarray:
    body = label != AIR
    x, y, z = grid.x / 150, grid.y / 150, grid.z / 100
    shims = (x, y, z, x * z, y * z, x * y, x**2 - y**2, 3 * z**2 - x**2 - y**2)
    strength = rng.normal(0, 1, len(shims)) * (40, 50, 60, 50, 50, 25, 30, 15)
    depth = _dome(grid, *_HALF_BODY_MM)
    dome = rng.uniform(90, 160) * np.exp(-(np.maximum(-depth, 0) / rng.uniform(22, 38)))
    b0_hz = sum(s * term for s, term in zip(strength, shims, strict=True)) + dome + _gas_field(grid)
    steep = np.percentile(_gradient(b0_hz)[body], 99) / protocol.period_hz
    b0_hz = b0_hz * (severity / steep)
    return b0_hz - b0_hz[body].mean() + rng.uniform(-0.5, 0.5) * protocol.period_hz


def _set_apart(label: np.ndarray, s0: np.ndarray, r2star: np.ndarray) -> np.ndarray:
    """Put a weak rim around the liver; returns 1 in the liver, falling to 0 across the rim."""
    liver = label == LIVER
    rim = binary_dilation(liver, np.ones((1, 3, 3), bool), iterations=_RIM_PIXELS) & ~liver & (label != FAT)
    label[rim], s0[rim], r2star[rim] = AIR, _RIM_S0, 150.0
    outside = distance_transform_edt(~liver, sampling=(1e3, 1, 1))
    return np.clip(1 - outside / (_RIM_PIXELS + 1), 0, 1)


def _gas_field(grid: _Grid) -> np.ndarray:
    """Field (Hz at 1.5 T) of a ball of gas, main field along z; level inside."""
    cx, cy, cz = _gas_centre(*_HALF_BODY_MM)
    dx, dy, dz = grid.x - cx, grid.y - cy, grid.z - cz
    away = np.maximum(np.sqrt(dx**2 + dy**2 + dz**2), 24.0)
    along = np.clip(dz / away, -1, 1)
    return 0.25 * _AIR_PPM / 3 * GYROMAGNETIC_MHZ_PER_T * 1.5 * (16.0 / away) ** 3 * (3 * along**2 - 1)


def _gradient(b0_hz: np.ndarray) -> np.ndarray:
    """Magnitude of the gradient in the plane, Hz per pixel."""
    along_y, along_x = np.gradient(b0_hz, axis=(1, 2))
    return np.hypot(along_y, along_x)


def _odd_even(x: np.ndarray, echoes: int, *, rng: np.random.Generator) -> np.ndarray:
    """Factor (y, x, e) of a bipolar readout: alternating phase, constant and linear along x, and 2 % of amplitude."""
    half = rng.uniform(-1, 1) + rng.uniform(-1, 1) * x / 100
    sign = np.where(np.arange(echoes) % 2 == 0, 1.0, -1.0)
    return (1 + 0.01 * sign) * np.exp(1j * half[..., None] * sign)
