"""R2* maps from multi-echo gradient echo: pure arrays in, pure arrays out.

``fit_r2star`` is the one entry. Complex echoes are fitted with water, fat, one R2* and the field
(``quant.complex_volume``); magnitudes, and voxels whose phase cannot be used, with the first moment of the noise law
(Feng 2013, 10.1002/mrm.24607), with six-peak fat where the echo times can tell fat from water and the data ask for it.
"""

from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from quant.acquisition import BoolArray
from quant.complex_phase import PhaseVerdict, judge_phase
from quant.complex_volume import ComplexSignal
from quant.echo_phase import plane
from quant.fit_complex import fit_by_phase, foreground
from quant.fit_kernels import BLOCK
from quant.fit_maps import Map, Maps
from quant.flags import FitFlag
from quant.model_choice import Choice, choose_model, phases_show_fat
from quant.models import FatHandling, SignalModel, measurable_limit
from quant.noise import NoiseModel, estimate_complex_noise, estimate_noise
from quant.noise_law import noise_law
from quant.noise_refine import refine_body_noise
from quant.phase_check import contradicted
from quant.screening import clipped_rows, screened
from quant.threads import each_part, thread_limit
from quant.voxel_fit import Setup, Signal, Voxels, fit_voxels

ModelName = Literal[
    "auto",
    "complex_fat",
    "magnitude_first_moment",
    "magnitude_fat_first_moment",
    "magnitude_plain",
    "magnitude_truncated",
    "magnitude_plus_constant",
    "magnitude_squared",
]

_CHUNK = 128 * BLOCK  # voxels fitted at a time: bounds the memory beside the maps
_LEAST_ECHOES = 3
_SCALES, _SCALE_SAMPLE = (1e-15, 1e18), 1 << 16
_LIMIT_SAMPLE = 1 << 16  # voxels, evenly spread, that stand for all
_TISSUE_SNR = 10.0  # S0 / sigma from which a voxel counts as tissue for the acquisition's measurable limit


@dataclass(frozen=True, kw_only=True)
class R2StarMap:
    """Maps (z, y, x) of float32, NaN where the voxel was not fitted, and what they rest on.

    ``s0`` is the signal at TE = 0 in the input's unit; ``pdff`` a fraction, slightly below 0 or above 1 where noise
    says so, ``None`` when the model has no fat and NaN where a voxel cannot tell it (R2* is then fitted with that of
    its surroundings); ``b0_hz``, the field within half a period of the echo spacing, is ``None`` for magnitude fits.
    ``phase_note`` says of complex input how its phase was used or why it was not, ``phase_faulty`` that it should have
    been of use; ``echo_gain`` (y, x, e), found with the phase, is how many times too bright echoes are (bipolar
    readout) and was divided out before fitting. ``sd_r2star_per_s`` is the Cramer-Rao standard deviation from the
    noise model alone.
    ``residual`` is the root of chi squared per degree of freedom: 1 where noise explains all of it.
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
    phase_note: str | None = None
    phase_faulty: bool = False
    echo_gain: npt.NDArray[np.float64] | None = None

    def pdff_of_fit(self, where: BoolArray) -> npt.NDArray[np.float64]:
        """Fat fraction (k,) with which the voxels ``where`` (z, y, x) were fitted, their own or that of their
        surroundings; NaN where as water alone."""
        pdff = np.full(np.count_nonzero(where), np.nan)
        for given in (self.pdff, self.pdff_assumed):
            if given is not None:
                pdff = np.where(np.isnan(pdff), given[where], pdff)
        return pdff

    def fat_in(self, where: BoolArray) -> FatHandling:
        """How fat was handled in most of the measured voxels of ``where`` (z, y, x)."""
        if self.pdff is None:
            return self.fat
        measured = where & np.isfinite(self.r2star_per_s)
        own = np.isfinite(self.pdff[measured])
        if 2 * np.count_nonzero(own) >= own.size:
            return "fitted"
        if self.pdff_assumed is None:
            return self.fat
        pooled = np.isfinite(self.pdff_assumed[measured])
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

    ``signal`` (z, y, x, e) is real magnitude of any numeric type, or complex. ``echo_times_s`` (e,) ascends, spaced
    evenly or not. ``model`` "auto" takes ``complex_fat`` for complex echoes whose times can tell fat and whose phase
    can be used (``quant.complex_phase``), with the magnitude fit where R2* is too high for it (``PHASE_NOT_USED``);
    else ``magnitude_fat_first_moment`` or ``magnitude_first_moment`` for the whole acquisition by the rule of
    ``quant.model_choice``, complex echoes by their magnitude with the Rician law of a single complex image. The other
    names force a model. ``noise`` overrides the estimate from the images. ``mask`` (z, y, x) restricts the fit (not
    the noise estimate). ``threads`` limits the threads of this call. The result does not depend on the number of
    threads. Magnitudes that were clipped at the largest sample are marked ``SATURATED``. Wrong arguments raise
    ``ValueError`` that names the argument.
    """
    times = _checked_times(echo_times_s)
    signal = _array("signal", signal)
    mask = None if mask is None else _array("mask", mask)
    _check_arguments(signal, times, field_t=field_t, mask=mask, threads=threads)
    wanted = _named_model(model)
    if wanted is SignalModel.COMPLEX_FAT and not np.iscomplexobj(signal):
        raise ValueError(f"signal must be complex for {wanted}, not {signal.dtype}")
    if wanted is not None and times.size <= _parameters(wanted):
        raise ValueError(f"echo_times_s: {times.size} echoes are too few for {wanted}")
    if np.iscomplexobj(signal):
        signal = np.ascontiguousarray(signal, dtype=np.complex64)
    with thread_limit(threads):
        setup = Setup(echo_times_s=times, field_t=float(field_t), noise=noise or _estimate(signal, times))
        flat = _magnitude(signal).reshape(-1, times.size)
        flags = _usable(flat, mask)
        if noise is None and not setup.noise.from_background:
            setup = replace(
                setup,
                noise=refine_body_noise(flat, np.flatnonzero(flags == 0), setup),
            )
        if not np.iscomplexobj(signal):
            clipped = clipped_rows(flat, flags == 0)
            found = _fit_magnitude(flat, flags, _volume(signal), setup, wanted)
            found.flags.reshape(-1)[clipped] |= FitFlag.SATURATED
            return found
        if wanted not in (None, SignalModel.COMPLEX_FAT):
            note = f"Phase not used: {wanted} was asked for."
            return _fit_magnitude(flat, flags, _volume(signal), setup, wanted, phase_note=note)
        if setup.noise.coils > 1:
            note = f"Phase not used: the magnitude has the noise of {setup.noise.coils:.1f} coils, not of one image."
            return _fit_magnitude(flat, flags, _volume(signal), setup, None, phase_note=note)
        del flat  # half of the samples' memory, not needed while they are fitted
        return _fit_complex(signal.reshape(-1, times.size), flags, _volume(signal), setup, wanted)


def _fit_magnitude(
    flat: Signal,
    flags: npt.NDArray[np.int32],
    shape: tuple[int, int, int],
    setup: Setup,
    wanted: SignalModel | None,
    *,
    phase_note: str | None = None,
) -> R2StarMap:
    """Fit the magnitudes ``flat`` (n, e) where ``flags`` (n,) are 0."""
    choice = choose_model(flat, flags == 0, shape, setup, wanted)
    voxels = np.flatnonzero(flags == 0)
    maps = Maps.empty(flags, with_pdff=choice.model is SignalModel.FAT_FIRST_MOMENT)
    _fill_magnitude(flat, voxels, choice, maps, FitFlag.NONE)
    return _finished(maps, shape, choice, phase_note=phase_note)


def _fill_magnitude(flat: Signal, voxels: Voxels, choice: Choice, maps: Maps, also: FitFlag) -> None:
    def fill(part: slice) -> None:
        some = voxels[part]
        maps.fill(some, fit_voxels(flat, some, choice.setup, choice.model), choice.setup, also)

    each_part(voxels.size, _CHUNK, fill)


def _fit_complex(
    samples: ComplexSignal,
    flags: npt.NDArray[np.int32],
    shape: tuple[int, int, int],
    setup: Setup,
    wanted: SignalModel | None,
) -> R2StarMap:
    """Fit the complex ``samples`` (n, e); by their magnitude alone where the phase is no use."""
    usable = flags == 0
    voxels = foreground(samples, flags, setup)
    verdict = _phase_verdict(samples, voxels, shape, setup, wanted)
    why = None if verdict.usable else verdict.note
    as_sent = samples
    if why is None:
        if verdict.errors is not None:
            samples = verdict.errors.taken_from(samples, plane(np.arange(len(samples)), shape))
        maps, left = fit_by_phase(samples, voxels, shape, verdict.setup, flags)
        if left.most:
            why = "water and fat in a field do not explain most of the tissue"
        elif phases_show_fat(setup) and contradicted(samples, maps, verdict.setup):
            why = "the magnitudes of the same images contradict it"
    if why is not None:
        flags[usable] = 0
        plain = _fit_magnitude(_magnitude(as_sent), flags, shape, setup, None, phase_note=f"Phase not used: {why}.")
        return replace(plain, phase_faulty=verdict.usable or verdict.faulty)
    choice = Choice(model=SignalModel.FIRST_MOMENT, setup=verdict.setup, without="not_told")
    if left.voxels.size:
        flat = _magnitude(samples)
        fat = SignalModel.FAT_FIRST_MOMENT if phases_show_fat(setup) else SignalModel.FIRST_MOMENT
        choice = choose_model(flat, usable, shape, verdict.setup, fat)
        _fill_magnitude(flat, left.voxels, choice, maps, FitFlag.PHASE_NOT_USED)
    finished = _finished(maps, shape, replace(choice, model=SignalModel.COMPLEX_FAT), phase_note=f"{verdict.note}.")
    if verdict.errors is None:
        return finished
    in_slice = plane(np.arange(shape[1] * shape[2]), (1, *shape[1:]))
    return replace(finished, echo_gain=verdict.errors.gain(in_slice).reshape(*shape[1:], -1))


def _phase_verdict(
    samples: ComplexSignal, voxels: Voxels, shape: tuple[int, int, int], setup: Setup, wanted: SignalModel | None
) -> PhaseVerdict:
    if wanted is None and not phases_show_fat(setup):
        return PhaseVerdict(usable=False, note="the echo times do not tell water from fat", setup=setup)
    return judge_phase(samples, voxels, shape, setup)


def _checked_times(echo_times_s: npt.ArrayLike) -> npt.NDArray[np.float64]:
    given = _array("echo_times_s", echo_times_s)
    if given.dtype.kind not in "iuf":
        raise ValueError(f"echo_times_s must be real numbers, not {given.dtype}")
    times = given.astype(np.float64)
    if times.ndim != 1 or times.size < _LEAST_ECHOES:
        raise ValueError(f"echo_times_s must be a list of at least {_LEAST_ECHOES} times, not of shape {times.shape}")
    if not np.all(np.isfinite(times)) or times[0] <= 0 or np.any(np.diff(times) <= 0):
        raise ValueError("echo_times_s must be positive, finite and ascend strictly")
    if times[-1] > 1:
        raise ValueError(f"echo_times_s must be in seconds; the last one is {times[-1]:g}")
    return times


def _array(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    """``values`` as a plain array."""
    if np.ma.isMaskedArray(values):
        raise ValueError(f"{name} must not be a masked array; pass mask=")
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no array of numbers: {error}") from None


def _is_number(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


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
    _check_scale(signal[..., 0])
    if not (_is_number(field_t, Real) and np.isfinite(field_t) and 0.05 <= field_t <= 15):
        raise ValueError(f"field_t must be a field strength in tesla, not {field_t!r}")
    if mask is not None and (mask.shape != signal.shape[:3] or mask.dtype != np.bool_):
        raise ValueError(f"mask must be bool of shape {signal.shape[:3]}, not {mask.dtype} of {mask.shape}")
    if threads is not None and not (_is_number(threads, Integral) and threads >= 1):
        raise ValueError(f"threads must be a whole number of at least 1, not {threads!r}")


def _check_scale(first_echo: npt.NDArray[Any]) -> None:
    """Squares of samples must fit into float32; single ones that do not are left to ``quant.screening``."""
    some = np.abs(first_echo.reshape(-1)[:: first_echo.size // _SCALE_SAMPLE | 1])
    some = some[np.isfinite(some)]
    typical = float(np.quantile(some, 0.99)) if some.size else 0.0
    if typical and not _SCALES[0] <= typical <= _SCALES[1]:
        raise ValueError(f"signal: its first echo reaches {typical:.3g}; scale it to {_SCALES[0]:g} to {_SCALES[1]:g}")


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
    two = (SignalModel.FIRST_MOMENT, SignalModel.PLAIN, SignalModel.TRUNCATED, SignalModel.SQUARED)
    return 2 if model in two else 3


def _magnitude(signal: npt.NDArray[Any]) -> Signal:
    """The same shape, C-contiguous float32."""
    if not np.iscomplexobj(signal):
        return np.ascontiguousarray(signal, dtype=np.float32)
    rows = signal.reshape(-1, signal.shape[-1])
    magnitude = np.empty(rows.shape, np.float32)

    def take(part: slice) -> None:
        np.abs(rows[part], out=magnitude[part])

    each_part(len(rows), _CHUNK, take)
    return magnitude.reshape(signal.shape)


def _volume(signal: npt.NDArray[Any]) -> tuple[int, int, int]:
    slices, rows, columns, _ = signal.shape
    return slices, rows, columns


def _estimate(signal: npt.NDArray[Any], times: npt.NDArray[np.float64]) -> NoiseModel:
    return estimate_complex_noise(signal, times) if np.iscomplexobj(signal) else estimate_noise(signal, times)


def _usable(flat: Signal, mask: BoolArray | None) -> npt.NDArray[np.int32]:
    """Flags (n,) before the fit: voxels outside the mask, voxels with samples that are no magnitudes."""
    flags = screened(flat)
    if mask is not None:
        flags[~mask.reshape(-1)] = FitFlag.OUTSIDE
    return flags


def _finished(maps: Maps, shape: tuple[int, int, int], choice: Choice, *, phase_note: str | None) -> R2StarMap:
    setup = choice.setup
    assumed = None
    if maps.pdff is not None and setup.local_pdff is not None:
        assumed = np.where(np.isnan(maps.pdff) & ~np.isnan(maps.r2star), setup.local_pdff, np.float32(np.nan))
    finished = R2StarMap(
        r2star_per_s=maps.r2star.reshape(shape),
        s0=maps.s0.reshape(shape),
        pdff=None if maps.pdff is None else maps.pdff.reshape(shape),
        b0_hz=None if maps.b0_hz is None else maps.b0_hz.reshape(shape),
        sd_r2star_per_s=maps.sd.reshape(shape),
        residual=maps.residual.reshape(shape),
        flags=maps.flags.reshape(shape),
        sigma=setup.noise.sigma,
        coils=setup.noise.coils,
        noise_source=setup.noise.source,
        measurable_limit_per_s=_limit(maps, setup),
        model=str(choice.model),
        noise_model=_noise_name(setup.noise.coils, choice.model, is_complex=phase_note is not None),
        echoes_used=int(setup.echo_times_s.size),
        fat=choice.without,
        pdff_assumed=None if assumed is None else assumed.reshape(shape),
        phase_note=phase_note,
    )
    return replace(finished, fat=finished.fat_in(np.ones(shape, dtype=np.bool_)))


def _limit(maps: Maps, setup: Setup) -> float | None:
    """Limit of the acquisition's typical tissue; S0 extrapolated from uncertain decays has no part in it."""
    some = slice(None, None, maps.s0.size // _LIMIT_SAMPLE | 1)  # odd: not the same column in every row
    s0_of, flags = maps.s0[some], maps.flags[some]
    tissue = s0_of > _TISSUE_SNR * setup.noise.sigma  # NaN compares false
    certain = tissue & (flags == 0)
    if not np.any(tissue):
        return None
    s0 = float(np.median(s0_of[certain if np.any(certain) else tissue]))
    return measurable_limit(setup.echo_times_s, noise_law(setup.noise.coils), snr=s0 / setup.noise.sigma)


def _noise_name(coils: float, model: SignalModel, *, is_complex: bool) -> str:
    """Name of the noise law for the record."""
    if model is SignalModel.COMPLEX_FAT:
        return "gaussian (complex), rician (magnitude) where the phase was not used"
    if is_complex and coils == 1:
        return "rician (magnitude of complex)"
    return "rician" if coils == 1 else f"non-central chi ({coils:.1f} coils)"
