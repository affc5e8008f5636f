"""Noise of an acquisition without usable background, made sharper with the signal model itself.

The spread between neighbouring voxels and echoes (``quant.noise``) errs upwards wherever anatomy has edges, and says
nothing about the coil number. What a fit of the right signal model leaves over has neither fault: sigma follows from
the residual of tissue far above the floor, the coil number from which floor the darkest decays run into.
"""

from dataclasses import replace

import numpy as np
from scipy.stats import chi2 as chi_squared

from quant.model_choice import tissue_sample, voxels_show_fat
from quant.models import SignalModel, amplitude
from quant.noise import NoiseModel
from quant.noise_law import noise_law
from quant.voxel_fit import Array, Setup, Signal, VoxelFit, Voxels, fit_voxels

_COIL_CANDIDATES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_QUANTILE = 0.15  # of the residuals: partial volume, texture and motion only add to them
_FAR_ABOVE_FLOOR = 8.0  # times sigma, weakest echo
_LEAST_VOXELS = 200
_LARGEST_CORRECTION = 1.15  # of sigma once the coils are known: noise of many coils varies less than sigma near 8 sigma
_LEAST_GAIN = 100.0  # in deviance summed over the sample, to leave one coil
_LEAST_GAIN_EACH = 0.2  # and for each decay asked: a small misfit of many is no evidence
_NEAR_FLOOR = 6.0  # times sigma
_CAP = 4.0  # times the degrees of freedom: what one voxel may add
_EXPLAINED = 2.0  # times the degrees of freedom: chi squared of a decay that the model describes
_LEAST_EXPLAINED = 0.25  # of the sample, for it to tell the coils


def refine_body_noise(signal: Signal, voxels: Voxels, setup: Setup) -> NoiseModel:
    """Sigma and coils from the residuals of ``signal`` (n, e) at the rows ``voxels``.

    Sigma stays at or below the one given, but for the correction that more than one coil asks for.
    """
    sample = tissue_sample(signal, voxels, setup)
    weakest = signal[sample].min(axis=1)
    clear = sample[weakest > _FAR_ABOVE_FLOOR * setup.noise.sigma]
    if clear.size < _LEAST_VOXELS:
        return setup.noise
    model = _richest_model(setup, float(np.median(signal[clear, 0])) / setup.noise.sigma)
    noise = _rescaled(signal, clear, setup, model, largest=1.0)
    if noise is None:
        return setup.noise
    setup = replace(setup, noise=noise)
    coils = _coils_of_the_floor(signal, sample, setup, model)
    setup = replace(setup, noise=replace(setup.noise, coils=coils))
    return (coils > 1 and _rescaled(signal, clear, setup, model, largest=_LARGEST_CORRECTION)) or setup.noise


def _rescaled(signal: Signal, clear: Voxels, setup: Setup, model: SignalModel, *, largest: float) -> NoiseModel | None:
    """The noise with its sigma corrected by the residuals of ``clear`` (k,), at most ``largest`` times; ``None`` where
    that leaves nothing."""
    ratio = _residual_ratio(fit_voxels(signal, clear, setup, model))
    sigma = setup.noise.sigma * min(float(np.sqrt(max(ratio, 0.0))), largest)
    return replace(setup.noise, sigma=sigma) if sigma > 0 else None


def _residual_ratio(fit: VoxelFit) -> float:
    """Chi squared found over chi squared expected, from the better fitted voxels (mostly fat ones left out)."""
    relative = fit.chi2 / chi_squared.ppf(_QUANTILE, fit.dof)
    if fit.ambiguous is not None and not np.all(fit.ambiguous):
        relative = relative[~fit.ambiguous]
    return float(np.quantile(relative, _QUANTILE))


def _richest_model(setup: Setup, snr: float) -> SignalModel:
    return SignalModel.FAT_FIRST_MOMENT if voxels_show_fat(setup, snr) else SignalModel.FIRST_MOMENT


def _coils_of_the_floor(signal: Signal, sample: Voxels, setup: Setup, model: SignalModel) -> float:
    """The candidate under which the decays are most likely, one coil unless another is clearly better.

    Only decays that come near the floor and that one of the candidates explains are asked: far above the floor, the
    little that many coils bend a decay is told from fat and R2* by nothing, and a wrong choice there shifts R2* by more
    than the coils do.
    """
    samples = signal[sample]
    near = samples.min(axis=1) < _NEAR_FLOOR * setup.noise.sigma
    sample, samples = sample[near], samples[near]
    chi2, deviance = np.empty((2, len(_COIL_CANDIDATES), sample.size))
    for k, coils in enumerate(_COIL_CANDIDATES):
        assumed = replace(setup, noise=replace(setup.noise, coils=coils))
        fit = fit_voxels(signal, sample, assumed, model)
        chi2[k], log_variance = _likelihood(samples, fit, assumed)
        chi2[k] /= np.maximum(fit.dof, 1)
        deviance[k] = np.minimum(chi2[k], _CAP) * np.maximum(fit.dof, 1) + log_variance
    explained = chi2.min(axis=0) < _EXPLAINED
    asked = int(np.count_nonzero(explained))
    if asked < max(_LEAST_VOXELS, _LEAST_EXPLAINED * sample.size):
        return 1.0
    total = deviance[:, explained].sum(axis=1)
    best = int(np.argmin(total))
    return _COIL_CANDIDATES[best] if total[0] - total[best] > max(_LEAST_GAIN, _LEAST_GAIN_EACH * asked) else 1.0


def _likelihood(samples: Signal, fit: VoxelFit, setup: Setup) -> tuple[Array, Array]:
    """Chi squared of ``samples`` (k, e) with the mean and variance of the noise law, and the sum of ln variance, (k,).

    Noise near the floor of many coils varies less than that of one: chi squared alone would always favour few coils.
    """
    law = noise_law(setup.noise.coils)
    pdff = None if fit.pdff is None else np.nan_to_num(fit.pdff)
    clean = amplitude(setup.echo_times_s, s0=fit.s0, r2star_per_s=fit.r2star_per_s, pdff=pdff, field_t=setup.field_t)
    a = clean / setup.noise.sigma
    variance = law.variance(a)
    chi2 = ((samples / setup.noise.sigma - law.mean(a)) ** 2 / variance).sum(axis=1)
    return chi2, np.log(variance).sum(axis=1)
