"""R2* maps from multi-echo gradient echo: pure arrays in, pure arrays out.

``fit_r2star`` is the one entry. For patients it fits the first moment of the noise law (Feng 2013,
10.1002/mrm.24607), with six-peak fat where the echo times can tell fat from water and the data ask for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numba as nb
import numpy as np
import numpy.typing as npt
from scipy.stats import chi2 as chi_squared

from quant.acquisition import BoolArray
from quant.fit_kernels import BLOCK
from quant.flags import UNFIT, FitFlag
from quant.model_choice import Choice, choose_model
from quant.models import AT_LIMIT_RELATIVE_SD, FatHandling, SignalModel, measurable_limit
from quant.noise import NoiseModel, estimate_complex_noise, estimate_noise
from quant.noise_law import noise_law
from quant.noise_refine import refine_body_noise
from quant.voxel_fit import Setup, Signal, VoxelFit, Voxels, fit_voxels

Map = npt.NDArray[np.float32]
ModelName = Literal[
    "auto",
    "magnitude_first_moment",
    "magnitude_fat_first_moment",
    "magnitude_plain",
    "magnitude_truncated",
    "magnitude_plus_constant",
    "magnitude_squared",
]

_CHUNK = 512 * BLOCK  # voxels fitted at a time: bounds the memory beside the maps
_NOISE_ONLY_LEVEL = 1e-3  # probability that noise alone passes for signal
_POOR_FIT_LEVEL = 1e-3  # probability that a right model passes for wrong
_POOR_FIT_SHARE = 0.05  # of the first echo: smaller misfits do not matter, however significant
_LEAST_ECHOES = 3
_TISSUE_SNR = 10.0  # S0 / sigma from which a voxel counts as tissue for the acquisition's measurable limit


@dataclass(frozen=True, kw_only=True)
class R2StarMap:
    """Maps (z, y, x) of float32, NaN where the voxel was not fitted, and what they rest on.

    ``s0`` is the signal at TE = 0 in the input's unit; ``pdff`` a fraction, slightly below 0 or above 1 where noise
    says so, ``None`` when the model has no fat and NaN where a voxel cannot tell it (R2* is then fitted with that of
    its surroundings); ``b0_hz`` is ``None`` for magnitude fits. ``sd_r2star_per_s`` is the Cramer-Rao standard
    deviation from the noise model alone. ``residual`` is the root of chi squared per degree of freedom: 1 where noise
    explains all of it.
    ``flags`` (z, y, x) are ``FitFlag`` bits. ``sigma``, ``coils`` and ``noise_source`` are the noise model used.
    ``measurable_limit_per_s`` is the R2* at which one voxel of this acquisition's typical tissue (median S0 of the
    voxels measured without reservation and above 10 sigma) reaches a Cramer-Rao SD of 25 %: the same bound that flags
    single voxels ``AT_LIMIT``; ``None`` where no R2* at all can be measured so well. ``model`` and ``noise_model`` are
    names for the record. ``fat`` is how fat was handled in most of the measured voxels, ``pdff_assumed`` the fraction
    of the surroundings that a voxel was fitted with because it cannot tell its own, NaN elsewhere (``None`` without
    fat).
    """

    r2star_per_s: Map
    s0: Map
    pdff: Map | None
    b0_hz: Map | None
    sd_r2star_per_s: Map
    residual: Map
    flags: npt.NDArray[np.int32]
    sigma: float
    coils: float
    noise_source: str
    measurable_limit_per_s: float | None
    model: str
    noise_model: str
    echoes_used: int
    fat: FatHandling = "not_modelled"
    pdff_assumed: Map | None = None

    def fat_in(self, where: BoolArray) -> FatHandling:
        """How fat was handled in most of the measured voxels of ``where`` (z, y, x)."""
        if self.pdff is None or self.pdff_assumed is None:
            return self.fat
        measured = where & np.isfinite(self.r2star_per_s)
        own = np.isfinite(self.pdff[measured])
        pooled = np.isfinite(self.pdff_assumed[measured])
        if 2 * np.count_nonzero(own) >= own.size:
            return "fitted"
        return "pooled" if 2 * np.count_nonzero(own | pooled) >= own.size else "not_told"


def fit_r2star(
    signal: npt.NDArray[Any],
    echo_times_s: npt.ArrayLike,
    *,
    field_t: float,
    model: ModelName = "auto",
    noise: NoiseModel | None = None,
    mask: BoolArray | None = None,
    threads: int | None = None,
) -> R2StarMap:
    """Fit R2* in every voxel.

    ``signal`` (z, y, x, e) is real magnitude of any numeric type, or complex: its magnitude is then fitted with the
    Rician law of a single complex image. ``echo_times_s`` (e,) ascends, spaced evenly or not. ``model`` "auto" takes
    ``magnitude_fat_first_moment`` or ``magnitude_first_moment`` for the whole acquisition by the rule of
    ``quant.model_choice``; the other names force a model. ``noise`` overrides the estimate from the images. ``mask``
    (z, y, x) restricts the fit (not the noise estimate). ``threads`` limits the threads of this call. The result does
    not depend on the number of threads. Wrong arguments raise ``ValueError`` that names the argument.
    """
    times = _checked_times(echo_times_s)
    _check_arguments(signal, times, field_t=field_t, mask=mask, threads=threads)
    wanted = _named_model(model)
    if wanted is not None and times.size <= _parameters(wanted):
        raise ValueError(f"echo_times_s: {times.size} echoes are too few for {wanted}")
    estimated = noise is None
    setup = Setup(echo_times_s=times, field_t=float(field_t), noise=noise or _estimate(signal, times))
    flat = _magnitude(signal).reshape(-1, times.size)
    flags = _usable(flat, mask)
    voxels = np.flatnonzero(flags == 0)
    with _thread_limit(threads):
        if estimated and not setup.noise.from_background:
            setup = replace(setup, noise=refine_body_noise(flat, voxels, setup))
        choice = choose_model(flat, flags == 0, _volume(signal), setup, wanted)
        chosen, setup = choice.model, choice.setup
        maps = _Maps.empty(flat.shape[0], with_pdff=chosen is SignalModel.FAT_FIRST_MOMENT, flags=flags)
        for start in range(0, voxels.size, _CHUNK):
            part = voxels[start : start + _CHUNK]
            maps.fill(part, fit_voxels(flat, part, setup, chosen), setup)
    return _finished(maps, _volume(signal), choice, is_complex=np.iscomplexobj(signal))


def _checked_times(echo_times_s: npt.ArrayLike) -> npt.NDArray[np.float64]:
    times = np.asarray(echo_times_s, dtype=np.float64)
    if times.ndim != 1 or times.size < _LEAST_ECHOES:
        raise ValueError(f"echo_times_s must be a list of at least {_LEAST_ECHOES} times, not of shape {times.shape}")
    if not np.all(np.isfinite(times)) or times[0] <= 0 or np.any(np.diff(times) <= 0):
        raise ValueError("echo_times_s must be positive, finite and ascend strictly")
    if times[-1] > 1:
        raise ValueError(f"echo_times_s must be in seconds; the last one is {times[-1]:g}")
    return times


def _check_arguments(
    signal: npt.NDArray[Any],
    times: npt.NDArray[np.float64],
    *,
    field_t: float,
    mask: BoolArray | None,
    threads: int | None,
) -> None:
    if signal.ndim != 4:
        raise ValueError(f"signal must have shape (z, y, x, e), not {signal.shape}")
    if signal.dtype.kind not in "iufc":
        raise ValueError(f"signal must be numeric, not {signal.dtype}")
    if signal.shape[3] != times.size:
        raise ValueError(f"signal has {signal.shape[3]} echoes but echo_times_s has {times.size}")
    if signal.size == 0:
        raise ValueError("signal is empty")
    if not (np.isfinite(field_t) and 0.05 <= field_t <= 15):
        raise ValueError(f"field_t must be a field strength in tesla, not {field_t}")
    if mask is not None and (mask.shape != signal.shape[:3] or mask.dtype != np.bool_):
        raise ValueError(f"mask must be bool of shape {signal.shape[:3]}, not {mask.dtype} of {mask.shape}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")


def _named_model(model: str) -> SignalModel | None:
    """The model of that name, ``None`` for "auto"."""
    if model == "auto":
        return None
    try:
        return SignalModel(model)
    except ValueError:
        known = ", ".join(["auto", *SignalModel])
        raise ValueError(f"model must be one of {known}, not {model!r}") from None


def _parameters(model: SignalModel) -> int:
    return 3 if model in (SignalModel.FAT_FIRST_MOMENT, SignalModel.PLUS_CONSTANT) else 2


def _magnitude(signal: npt.NDArray[Any]) -> Signal:
    if np.iscomplexobj(signal):
        signal = np.abs(signal)
    return np.ascontiguousarray(signal, dtype=np.float32)


def _volume(signal: npt.NDArray[Any]) -> tuple[int, int, int]:
    slices, rows, columns, _ = signal.shape
    return slices, rows, columns


def _estimate(signal: npt.NDArray[Any], times: npt.NDArray[np.float64]) -> NoiseModel:
    return estimate_complex_noise(signal, times) if np.iscomplexobj(signal) else estimate_noise(signal, times)


def _usable(flat: Signal, mask: BoolArray | None) -> npt.NDArray[np.int32]:
    """Flags (n,) before the fit: voxels outside the mask, voxels with samples that are no magnitudes."""
    least = flat.min(axis=1)
    broken = ~(np.isfinite(least) & np.isfinite(flat.max(axis=1)) & (least >= 0))
    flags = np.where(broken, np.int32(FitFlag.FAILED), np.int32(0))
    if mask is not None:
        flags[~mask.reshape(-1)] = FitFlag.OUTSIDE
    return flags


@contextmanager
def _thread_limit(threads: int | None) -> Iterator[None]:
    """Let numba use at most ``threads`` threads, and what it used before afterwards."""
    before = nb.get_num_threads()
    nb.set_num_threads(before if threads is None else min(threads, before))
    try:
        yield
    finally:
        nb.set_num_threads(before)


@dataclass(frozen=True, kw_only=True)
class _Maps:
    """Flat maps (n,), filled chunk by chunk."""

    r2star: Map
    s0: Map
    sd: Map
    residual: Map
    pdff: Map | None
    flags: npt.NDArray[np.int32]

    @staticmethod
    def empty(n: int, *, with_pdff: bool, flags: npt.NDArray[np.int32]) -> "_Maps":
        def blank() -> Map:
            return np.full(n, np.nan, np.float32)

        pdff = blank() if with_pdff else None
        return _Maps(r2star=blank(), s0=blank(), sd=blank(), residual=blank(), pdff=pdff, flags=flags)

    def fill(self, voxels: Voxels, fit: VoxelFit, setup: Setup) -> None:
        """Enter one chunk: values where there is a measurement, flags everywhere."""
        flags = _flags_of(fit, setup)
        measured = ((flags & UNFIT) == 0) & ~fit.at_top
        at = voxels[measured]
        self.flags[voxels] = flags
        self.r2star[at] = fit.r2star_per_s[measured]
        self.s0[at] = fit.s0[measured]
        self.sd[at] = fit.sd_r2star_per_s[measured]
        self.residual[at] = np.sqrt(fit.chi2[measured] / np.maximum(fit.dof[measured], 1))
        if self.pdff is not None and fit.pdff is not None:
            self.pdff[at] = fit.pdff[measured]


def _flags_of(fit: VoxelFit, setup: Setup) -> npt.NDArray[np.int32]:
    """Flags (k,) of fitted voxels."""
    echoes, coils = setup.echo_times_s.size, setup.noise.coils
    noise_only = (fit.energy < chi_squared.isf(_NOISE_ONLY_LEVEL, 2 * coils * echoes)) & (
        fit.first**2 < chi_squared.isf(_NOISE_ONLY_LEVEL, 2 * coils)
    )
    failed = ~np.isfinite(fit.r2star_per_s) | ~np.isfinite(fit.s0) | (fit.dof < 1)
    beyond = fit.sd_r2star_per_s > AT_LIMIT_RELATIVE_SD * fit.r2star_per_s
    beyond &= fit.r2star_per_s * setup.echo_times_s[-1] > 1  # below, R2* is uncertain because it is low
    misfit = (fit.chi2 > chi_squared.isf(_POOR_FIT_LEVEL, np.maximum(fit.dof, 1))) & (
        np.sqrt(fit.chi2 / echoes) > _POOR_FIT_SHARE * fit.first
    )
    flags = np.zeros(fit.s0.shape, np.int32)
    for flag, where in (
        (FitFlag.AT_LIMIT, beyond | fit.at_top),
        (FitFlag.NO_DECAY, fit.at_zero),
        (FitFlag.POOR_FIT, misfit),
        (FitFlag.FAT_WATER_SWAP, fit.ambiguous),
    ):
        if where is not None:
            flags[where] |= flag
    flags[failed] = FitFlag.FAILED
    flags[noise_only] = FitFlag.NOISE_ONLY
    return flags


def _finished(maps: _Maps, shape: tuple[int, int, int], choice: Choice, *, is_complex: bool) -> R2StarMap:
    setup = choice.setup
    assumed = None
    if maps.pdff is not None and setup.local_pdff is not None:
        assumed = np.where(np.isnan(maps.pdff) & ~np.isnan(maps.r2star), setup.local_pdff, np.float32(np.nan))
    finished = R2StarMap(
        r2star_per_s=maps.r2star.reshape(shape),
        s0=maps.s0.reshape(shape),
        pdff=None if maps.pdff is None else maps.pdff.reshape(shape),
        b0_hz=None,
        sd_r2star_per_s=maps.sd.reshape(shape),
        residual=maps.residual.reshape(shape),
        flags=maps.flags.reshape(shape),
        sigma=setup.noise.sigma,
        coils=setup.noise.coils,
        noise_source=setup.noise.source,
        measurable_limit_per_s=_limit(maps, setup),
        model=str(choice.model),
        noise_model=noise_name(setup.noise.coils, is_complex=is_complex),
        echoes_used=int(setup.echo_times_s.size),
        fat=choice.without,
        pdff_assumed=None if assumed is None else assumed.reshape(shape),
    )
    return replace(finished, fat=finished.fat_in(np.ones(shape, dtype=np.bool_)))


def _limit(maps: _Maps, setup: Setup) -> float | None:
    """Limit of the acquisition's typical tissue; S0 extrapolated from uncertain decays has no part in it."""
    tissue = maps.s0 > _TISSUE_SNR * setup.noise.sigma  # NaN compares false
    certain = tissue & (maps.flags == 0)
    if not np.any(tissue):
        return None
    s0 = float(np.median(maps.s0[certain if np.any(certain) else tissue]))
    return measurable_limit(setup.echo_times_s, noise_law(setup.noise.coils), snr=s0 / setup.noise.sigma)


def noise_name(coils: float, *, is_complex: bool) -> str:
    """Name of the noise law for the record."""
    if is_complex:
        return "rician (magnitude of complex)"
    return "rician" if coils == 1 else f"non-central chi ({coils:.1f} coils)"
