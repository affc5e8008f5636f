"""Noise of an acquisition without usable background, made sharper with the signal model itself.

The spread between neighbouring voxels and echoes (``quant.noise``) errs upwards wherever anatomy has edges, downwards
near the floor of many coils, and says nothing about the coil number. What a fit of the right signal model leaves over
has none of these faults: sigma follows from the residual of tissue far above the floor, the coil number from which
floor the darkest decays run into.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaincinv

from quant.acquisition import BoolArray
from quant.model_choice import tissue_sample, voxels_show_fat
from quant.models import SignalModel, amplitude
from quant.noise import NoiseModel, as_whole_coil
from quant.noise_law import MAX_COILS, noise_law
from quant.voxel_fit import Array, Setup, Signal, VoxelFit, Voxels, fit_voxels

_PER_OCTAVE = 8  # coil numbers that are tried are 2^(k / 8)
_COARSE = (0, 8, 16, 24, 28, 32, 36, 40, 44, 48)  # k; their floors are at most 2 sigma apart
_FINE_STEPS = (4, 2, 1)
_FRACTIONS = (0.05, 0.1, 0.2, 0.3)  # of fat, that dark decays may have in common
_QUANTILE = 0.15  # of the residuals: partial volume, texture and motion only add to them
_FAR_ABOVE_FLOOR = 8.0  # times sigma, weakest echo ...
_FAR_ABOVE_MANY = 1.5  # ... and times the floor of many coils
_LEAST_VOXELS = 200
_LARGEST_SAMPLE = 2048  # decays of one kind
_LARGEST_CORRECTION = 1.45  # of sigma with more coils than one: at their floor, noise has half of its variance
_LEAST_GAIN = 100.0  # in deviance summed over the sample, to leave one coil
_LEAST_GAIN_EACH = 0.2  # and for each decay asked: a small misfit of many is no evidence ...
_LEAST_GAIN_AFAR = 2.0  # ... and less so far above the floor of one coil
_NEAR_FLOOR = 6.0  # times sigma
_CAP = 4.0  # times the degrees of freedom: what one voxel may add
_EXPLAINED = 2.0  # times the degrees of freedom: chi squared of a decay that the model describes
_LEAST_EXPLAINED = 0.25  # of the sample, for it to tell the coils


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """The decays (k,) under one coil number, with the sigma it asks for: chi squared per degree of freedom, deviance,
    and whether their signal falls below the floor."""

    noise: NoiseModel
    relative_chi2: Array
    deviance: Array
    in_floor: BoolArray


def refine_body_noise(signal: Signal, voxels: Voxels, setup: Setup) -> NoiseModel:
    """Sigma and coils from the residuals of ``signal`` (n, e) at the rows ``voxels``.

    With one coil, sigma stays at or below the one given.
    """
    sample = tissue_sample(signal, voxels, setup)
    weakest = signal[sample].min(axis=1)
    clear = sample[weakest > _FAR_ABOVE_FLOOR * setup.noise.sigma]
    if clear.size < _LEAST_VOXELS:
        return setup.noise
    model = _richest_model(setup, float(np.median(signal[clear, 0])) / setup.noise.sigma)
    one = _with_its_sigma(signal, sample, setup, model, coils=1.0)
    near = _thinned(sample[weakest < _NEAR_FLOOR * one.sigma])
    highest = float(noise_law(MAX_COILS).mean(0.0)) + _CAP
    afar = _thinned(sample[(weakest >= _NEAR_FLOOR * one.sigma) & (weakest < highest * one.sigma)])
    decays = np.ascontiguousarray(signal[np.concatenate([near, afar])])
    if len(decays) < _LEAST_VOXELS:
        return one

    def trial(coils: float, fraction: float) -> _Trial:
        noise = one if coils == 1 else _with_its_sigma(signal, sample, setup, model, coils=coils)
        return _tried(decays, replace(setup, noise=noise), model, fraction)

    return _CoilSearch(
        trial, np.arange(len(decays)) < near.size, with_fat=model is not SignalModel.FIRST_MOMENT
    ).noise()


def _thinned(voxels: Voxels) -> Voxels:
    """At most ``_LARGEST_SAMPLE`` of them, evenly spread over the list."""
    return np.ascontiguousarray(voxels[:: max(1, -(-voxels.size // _LARGEST_SAMPLE))])


def _with_its_sigma(signal: Signal, sample: Voxels, setup: Setup, model: SignalModel, *, coils: float) -> NoiseModel:
    """The noise with so many ``coils`` and sigma corrected by the residuals of what lies far above their floor, as far
    as there is enough of it."""
    given = setup.noise
    lowest = max(_FAR_ABOVE_FLOOR, _FAR_ABOVE_MANY * float(noise_law(coils).mean(0.0)))
    clear = _thinned(sample[signal[sample].min(axis=1) > lowest * given.sigma])
    noise = replace(given, coils=coils)
    if clear.size < _LEAST_VOXELS:
        return noise
    assumed = replace(setup, noise=noise)
    fit = fit_voxels(signal, clear, assumed, model)
    ratio = _residual_ratio(_likelihood(signal[clear], fit, assumed)[0], fit)
    sigma = given.sigma * min(float(np.sqrt(ratio)), 1.0 if coils == 1 else _LARGEST_CORRECTION)
    return replace(noise, sigma=sigma) if sigma > 0 else noise


def _residual_ratio(chi2: Array, fit: VoxelFit) -> float:
    """Chi squared found over chi squared expected, from the better fitted voxels (mostly fat ones left out)."""
    relative = chi2 / (2 * gammaincinv(fit.dof / 2, _QUANTILE))
    if fit.ambiguous is not None and not np.all(fit.ambiguous):
        relative = relative[~fit.ambiguous]
    return float(np.quantile(relative, _QUANTILE))


def _richest_model(setup: Setup, snr: float) -> SignalModel:
    return SignalModel.FAT_FIRST_MOMENT if voxels_show_fat(setup, snr) else SignalModel.FIRST_MOMENT


class _CoilSearch:
    """The noise under which the decays are most likely, that of one coil unless another is clearly better.

    Asked are decays ``near`` (k,) the floor of one coil and, for any other number, those that its fit sees fall below
    its own floor; and only if one of the numbers explains them. Far above the floor, the little that many coils bend a
    decay is told from fat and R2* by nothing, and a wrong choice there shifts R2* by more than the coils do. Dark
    decays do not tell their own fat: the fraction that they have in common is sought with the coils.
    """

    def __init__(self, trial: Callable[[float, float], _Trial], near: BoolArray, *, with_fat: bool) -> None:
        self._trial, self._near = trial, near
        self._fractions = _FRACTIONS if with_fat else ()
        self._fraction = 0.0
        self._trials: dict[int, _Trial] = {}

    def noise(self) -> NoiseModel:
        """Coarse search, fat fraction, fine search, verdict."""
        self._try(*_COARSE)
        self._settle_fraction()
        for step in _FINE_STEPS:
            self._try(self._best - step, self._best + step)
        best = self._best
        self._try(best - 1, best + 1)
        one, asked = self._trials[0], self._asked(best)
        explained = asked & (np.min([t.relative_chi2 for t in self._trials.values()], axis=0) < _EXPLAINED)
        if np.count_nonzero(explained) < max(_LEAST_VOXELS, _LEAST_EXPLAINED * np.count_nonzero(asked)):
            return one.noise
        deviance = {k: float(t.deviance[explained].sum()) for k, t in self._trials.items()}
        demanded = np.where(self._near, _LEAST_GAIN_EACH, _LEAST_GAIN_AFAR)[explained].sum()
        if deviance[0] - deviance[best] <= max(_LEAST_GAIN, demanded):
            return one.noise
        coils = as_whole_coil(_coils(best + _vertex(*(deviance.get(best + k) for k in (-1, 0, 1)))))
        return one.noise if coils == 1 else self._trial(coils, self._fraction).noise

    def _try(self, *numbers: int) -> None:
        for k in numbers:
            if _COARSE[0] <= k <= _COARSE[-1] and k not in self._trials:
                self._trials[k] = self._trial(_coils(k), self._fraction)

    def _settle_fraction(self) -> None:
        """Take the fat fraction that suits the best coil number so far, and with it try that and one coil again."""
        best = self._best
        asked, found = self._asked(best), {0.0: self._trials[best]}
        for fraction in self._fractions:
            found[fraction] = self._trial(_coils(best), fraction)
        self._fraction = min(found, key=lambda fraction: float(found[fraction].deviance[asked].sum()))
        self._trials = {best: found[self._fraction]}
        self._try(0)

    def _asked(self, k: int) -> BoolArray:
        return np.asarray(self._near | self._trials[k].in_floor)

    @property
    def _best(self) -> int:
        one = self._trials[0].deviance
        return max(self._trials, key=lambda k: float((one - self._trials[k].deviance)[self._asked(k)].sum()))


def _coils(k: float) -> float:
    return float(2 ** (k / _PER_OCTAVE))


def _vertex(before: float | None, at: float | None, after: float | None) -> float:
    """Where the parabola through values at -1, 0 and 1 is least; 0 where one is missing or it has no minimum."""
    if before is None or at is None or after is None or at > min(before, after) or before + after == 2 * at:
        return 0.0
    return (before - after) / (2 * (before + after - 2 * at))


def _tried(decays: Signal, setup: Setup, model: SignalModel, fraction: float) -> _Trial:
    """Fit ``decays`` (k, e); those that do not tell their fat have the ``fraction``."""
    fraction_of = np.full(len(decays), fraction, np.float32)
    fit = fit_voxels(decays, np.arange(len(decays)), replace(setup, local_pdff=fraction_of), model)
    chi2, log_variance, least = _likelihood(decays, fit, setup, fraction)
    dof = np.maximum(fit.dof, 1)
    log_sigma = decays.shape[1] * np.log(setup.noise.sigma)
    return _Trial(
        noise=setup.noise,
        relative_chi2=chi2 / dof,
        deviance=np.minimum(chi2 / dof, _CAP) * dof + log_variance + 2 * log_sigma,
        in_floor=least < noise_law(setup.noise.coils).mean(0.0),
    )


def _likelihood(samples: Signal, fit: VoxelFit, setup: Setup, fraction: float = 0.0) -> tuple[Array, Array, Array]:
    """Chi squared of ``samples`` (k, e) with the mean and variance of the noise law, the sum of ln variance, and the
    least signal free of noise in units of sigma, (k,); of fat where ``fit`` did not fit it, ``fraction``.

    Noise near the floor of many coils varies less than that of one: chi squared alone would always favour few coils.
    """
    law = noise_law(setup.noise.coils)
    pdff = None if fit.pdff is None else np.where(np.isnan(fit.pdff), fraction, fit.pdff)
    clean = amplitude(setup.echo_times_s, s0=fit.s0, r2star_per_s=fit.r2star_per_s, pdff=pdff, field_t=setup.field_t)
    a = clean / setup.noise.sigma
    variance = law.variance(a)
    chi2 = ((samples / setup.noise.sigma - law.mean(a)) ** 2 / variance).sum(axis=1)
    return chi2, np.log(variance).sum(axis=1), a.min(axis=1)
