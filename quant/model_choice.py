"""Whether an acquisition's R2* is fitted with fat or without: decided once for the whole acquisition.

Fat left out biases R2* by tens of per cent in a fatty liver; fat put in where the echo times cannot show it makes R2*
noisy or wrong. So fat is fitted where both hold:

1. the echo times can tell: there are at least four, and they meet fat at phases different enough (``_OPPOSED``,
   ``_CONTRAST``);
2. the data ask for it: of the places whose pooled decay (``quant.local_fat``) tells its fat fraction and is mostly
   water, at least ``_LEAST_SHARE`` have more than ``_LEAST_PDFF`` and ``_SIGNIFICANCE`` times its error; or the excess
   is small at each place but general. Places of mostly fat (subcutaneous) have no vote.

Voxels whose own echoes cannot tell the fraction are fitted with that of their pooled surroundings, and as water where
not even these can tell.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtri

from quant.acquisition import BoolArray
from quant.local_fat import LocalFat, pool_fat
from quant.models import FatHandling, SignalModel, fat_phasor, sd_with_fat
from quant.noise_law import noise_law
from quant.voxel_fit import Setup, Signal, Voxels

_LEAST_ECHOES = 4
_OPPOSED, _CONTRAST = -0.3, 0.8  # lowest real part of unit fat, least range of it
_LARGEST_SD_PDFF = 0.05
_TYPICAL_R2STAR_PER_S, _TYPICAL_PDFF = 50.0, 0.10
_LEAST_SHARE = 0.05
_LEAST_PDFF = 0.02
_SIGNIFICANCE = float(np.sqrt(chdtri(1, 0.01)))  # times the error
_GENERAL_EXCESS = 1.1  # mean square of fraction over error: 1 without fat
_SAMPLES = 16384
_TISSUE_SNR = 5.0  # of the first echo


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The model, the setup with the fat fractions of the surroundings, how fat is handled ``without`` a fraction."""

    model: SignalModel
    setup: Setup
    without: FatHandling


def choose_model(
    signal: Signal, usable: BoolArray, shape: tuple[int, int, int], setup: Setup, wanted: SignalModel | None
) -> Choice:
    """Settle the model for ``signal`` (n, e), the raveled volume ``shape``, by its voxels ``usable`` (n,).

    ``wanted`` is ``None`` for "auto". The same data give the same answer.
    """
    with_fat = SignalModel.FAT_FIRST_MOMENT
    if wanted not in (None, with_fat) or (wanted is None and not phases_show_fat(setup)):
        return Choice(model=wanted or SignalModel.FIRST_MOMENT, setup=setup, without="not_modelled")
    local = pool_fat(signal, usable, shape, setup)
    if wanted is not None or _asks_for_fat(local):
        return Choice(model=with_fat, setup=replace(setup, local_pdff=local.of_voxels), without="not_told")
    told = np.any(np.isfinite(local.pdff))
    return Choice(model=SignalModel.FIRST_MOMENT, setup=setup, without="not_needed" if told else "not_told")


def phases_show_fat(setup: Setup) -> bool:
    """Condition 1 above."""
    if setup.echo_times_s.size < _LEAST_ECHOES:
        return False
    real = fat_phasor(setup.echo_times_s, setup.field_t).real
    return bool(real.min() <= _OPPOSED and np.ptp(real) >= _CONTRAST)


def voxels_show_fat(setup: Setup, snr: float) -> bool:
    """Whether single voxels of typical tissue of ``snr`` (S0 / sigma at TE = 0) can tell fat."""
    if not phases_show_fat(setup):
        return False
    _, sd_pdff = sd_with_fat(
        setup.echo_times_s,
        noise_law(setup.noise.coils),
        snr=snr,
        r2star_per_s=_TYPICAL_R2STAR_PER_S,
        pdff=_TYPICAL_PDFF,
        field_t=setup.field_t,
    )
    return sd_pdff <= _LARGEST_SD_PDFF


def tissue_sample(signal: Signal, voxels: Voxels, setup: Setup) -> Voxels:
    """At most ``_SAMPLES`` voxels with a clear first echo, evenly spread over the list."""
    floor = float(noise_law(setup.noise.coils).mean(0.0))
    bright = voxels[signal[voxels, 0] > (floor + _TISSUE_SNR) * setup.noise.sigma]
    step = max(1, -(-bright.size // _SAMPLES))
    return np.ascontiguousarray(bright[::step])


def _asks_for_fat(local: LocalFat) -> bool:
    """Condition 2 above."""
    watery = local.pdff < 0.5  # NaN compares false
    if not np.any(watery):
        return False
    pdff, relative = local.pdff[watery], local.pdff[watery] / local.error[watery]
    share = np.mean((pdff > _LEAST_PDFF) & (relative > _SIGNIFICANCE))
    general = np.mean(relative**2) > _GENERAL_EXCESS and np.median(pdff) > _LEAST_PDFF
    return bool(share >= _LEAST_SHARE or general)
