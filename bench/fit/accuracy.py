"""Bias and scatter of the magnitude fits against the Cramer-Rao bound, beside other fits of the same decays.

    python -m bench.fit.accuracy [--draws 3000] [--parts voxels fat region peers]

Every cell is ``--draws`` decays of one truth, at least 3000. The noise is given; ``bench.fit.noise`` shows what its
estimate costs. A cell counts where the bound (``bench.fit.magnitude_bound``, independent of ``quant``) is at most
12.5 % of R2*: |bias| <= 1 % and SD <= 1.05 of the bound; from 12.5 to 25 %: |median bias| <= 1 %. A miss is one that
twice the standard error of the draws does not explain, and is marked "!". Decays without a value (flagged) are left out
of mean and SD, and counted in the column "n".
"""

import argparse
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bench.fit import peers
from bench.fit.magnitude_bound import bounds
from bench.fit.magnitude_phantom import PROTOCOLS, Protocol, amplitudes, magnitudes
from bench.fit.magnitude_region import region_tables
from bench.machine import this_machine
from quant.fit import R2StarMap, fit_r2star
from quant.noise import NoiseModel
from quant.noise_law import noise_law

R2STAR_PER_S = (25.0, 50.0, 100.0, 200.0, 350.0, 500.0, 700.0, 1000.0, 1400.0, 2000.0)
FAT_R2STAR_PER_S = (25.0, 50.0, 100.0, 200.0, 350.0, 500.0)
PDFF = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)
SNRS = (20.0, 35.0, 50.0, 100.0)
COILS = (1, 8)
COUNTS_TO, MEDIAN_TO = 0.125, 0.25
LARGEST_BIAS, LARGEST_SD = 0.01, 1.05
PEER_DRAWS = 400


@dataclass(frozen=True, kw_only=True)
class Score:
    """One cell: the bound relative to R2*, relative mean and median bias with their standard errors, SD / bound."""

    bound: float
    bias: float
    median_bias: float
    error: float
    sd: float
    n: int
    of: int

    @classmethod
    def of_values(cls, values: np.ndarray, truth: float, bound: float) -> "Score":
        known = values[np.isfinite(values)].astype(np.float64)
        if known.size < 2:
            return cls(bound=bound / truth, bias=np.nan, median_bias=np.nan, error=0, sd=np.nan, n=0, of=values.size)
        return cls(
            bound=bound / truth,
            bias=known.mean() / truth - 1,
            median_bias=float(np.median(known)) / truth - 1,
            error=known.std(ddof=1) / truth / np.sqrt(known.size),
            sd=known.std(ddof=1) / bound,
            n=known.size,
            of=values.size,
        )

    @property
    def misses(self) -> bool:
        """Whether it misses its aim by more than chance."""
        if self.bound <= COUNTS_TO:
            late = self.sd > LARGEST_SD * (1 + 2 / np.sqrt(2 * max(self.n, 1)))
            return bool(abs(self.bias) - 2 * self.error > LARGEST_BIAS or late or self.n < self.of)
        return self.bound <= MEDIAN_TO and abs(self.median_bias) - 2.5 * self.error > LARGEST_BIAS

    def __str__(self) -> str:
        mark = "!" if self.misses else " "
        n = "" if self.n == self.of else f" ({self.n})"
        return f"{100 * self.bound:.1f}: {100 * self.bias:+.2f} {100 * self.median_bias:+.2f} {self.sd:.2f}{n}{mark}"


def fit(decays: np.ndarray, protocol: Protocol, *, coils: int, with_fat: bool = False) -> R2StarMap:
    """Our fit of ``decays`` (k, e) of unit noise, forced to one model."""
    return fit_r2star(
        decays[None, None],
        protocol.echo_times_s,
        field_t=protocol.field_t,
        model="magnitude_fat_first_moment" if with_fat else "magnitude_first_moment",
        noise=NoiseModel(sigma=1.0, coils=float(coils), source="given"),
        threads=1,
    )


def _decays(protocol: Protocol, draws: int, *, snr: float, r2star: float, coils: int, pdff: float = 0.0) -> np.ndarray:
    clean = amplitudes(protocol, snr=snr, r2star_per_s=np.full(draws, r2star), pdff=pdff)
    return magnitudes(clean, coils=coils, seed=int(1000 * r2star + 10 * snr + coils + 100 * pdff))


def _row(title: str, cells: list[str]) -> None:
    print("| " + " | ".join([f"{title:24s}", *cells]) + " |")


def voxel_table(draws: int) -> list[Score]:
    """Water alone. Cell: bound %: mean bias % median bias % SD/bound; "-" above a bound of 25 %."""
    print(f"\nVoxels, water: bound %: bias % median % SD/bound, {draws} draws; '-' where the bound is above 25 %")
    _row("R2* (1/s)", [f"{r:g}" for r in R2STAR_PER_S])
    scores = []
    for (name, protocol), snr, coils in itertools.product(PROTOCOLS.items(), SNRS, COILS):
        cells = []
        for r2star in R2STAR_PER_S:
            bound, _ = bounds(protocol, snr=snr, r2star_per_s=r2star, coils=coils)
            if bound > MEDIAN_TO * r2star:
                cells.append("-")
                continue
            decays = _decays(protocol, draws, snr=snr, r2star=r2star, coils=coils)
            scores.append(Score.of_values(fit(decays, protocol, coils=coils).r2star_per_s.ravel(), r2star, bound))
            cells.append(str(scores[-1]))
        _row(f"{name} SNR {snr:g} {coils} coils", cells)
    return scores


def fat_table(draws: int) -> list[Score]:
    """Water and fat fitted; behind the slash the PDFF's bias in points and its SD over its bound."""
    print(f"\nVoxels, fat fitted, SNR 50: as above / PDFF bias (points) SD/bound, {draws} draws")
    _row("R2* (1/s)", [f"{r:g}" for r in FAT_R2STAR_PER_S])
    scores = []
    for (name, protocol), coils, pdff in itertools.product(PROTOCOLS.items(), COILS, PDFF):
        cells = []
        for r2star in FAT_R2STAR_PER_S:
            bound, bound_pdff = bounds(protocol, snr=50.0, r2star_per_s=r2star, coils=coils, pdff=pdff)
            if bound > MEDIAN_TO * r2star:
                cells.append("-")
                continue
            found = fit(
                _decays(protocol, draws, snr=50.0, r2star=r2star, coils=coils, pdff=pdff),
                protocol,
                coils=coils,
                with_fat=True,
            )
            assert found.pdff is not None
            scores.append(Score.of_values(found.r2star_per_s.ravel(), r2star, bound))
            own = found.pdff[np.isfinite(found.pdff)].astype(np.float64)
            told = f" / {100 * (own.mean() - pdff):+.2f} {own.std() / bound_pdff:.2f}" if own.size > 1 else " / -"
            cells.append(f"{scores[-1]}{told}")
        _row(f"{name} {coils} coils {100 * pdff:g} %", cells)
    return scores


def _fits(protocol: Protocol, coils: int) -> Iterator[tuple[str, int, Callable[[np.ndarray], np.ndarray]]]:
    """Name, largest number of draws, function of decays (k, e)."""
    times = protocol.echo_times_s
    floor = float(noise_law(float(coils)).mean(0.0))
    yield "first moment (ironnode)", 10**6, lambda d: fit(d, protocol, coils=coils).r2star_per_s.ravel()
    yield "curve_fit", PEER_DRAWS, lambda d: peers.plain(d, times)
    yield "curve_fit, truncated", PEER_DRAWS, lambda d: peers.truncated(d, times, floor)
    yield "curve_fit, plus constant", PEER_DRAWS, lambda d: peers.plus_constant(d, times)
    if peers.ukat_absent() is None:
        yield "ukat 2p_exp", PEER_DRAWS, lambda d: peers.ukat(d, times, "2p_exp")[0]
        yield "ukat loglin", PEER_DRAWS, lambda d: peers.ukat(d, times, "loglin")[0]


def peer_table(draws: int) -> None:
    """The same decays by every fit that is here."""
    print(
        f"\nPeers, 3T/6 SNR 50 8 coils: as above, {draws} draws (peers {PEER_DRAWS}); R2* = 0 is a failed fit of ukat"
    )
    if peers.ukat_absent() is not None:
        print(f"ukat is left out: {peers.ukat_absent()}")
    protocol, coils = PROTOCOLS["3T/6"], 8
    _row("R2* (1/s)", [f"{r:g}" for r in R2STAR_PER_S[2:]])
    for name, most, estimate in _fits(protocol, coils):
        cells = []
        for r2star in R2STAR_PER_S[2:]:
            bound, _ = bounds(protocol, snr=50.0, r2star_per_s=r2star, coils=coils)
            decays = _decays(protocol, draws, snr=50.0, r2star=r2star, coils=coils)[:most]
            values = estimate(decays)
            zeros = int(np.count_nonzero(values == 0))
            score = str(Score.of_values(values, r2star, bound)).rstrip("! ")
            cells.append(score + (f", {zeros} zeros" if zeros else ""))
        _row(name, cells)


def main() -> None:
    """Print the tables and how many cells miss."""
    parser = argparse.ArgumentParser(description="Accuracy of the magnitude fits.")
    parser.add_argument("--draws", type=int, default=3000)
    parser.add_argument("--parts", nargs="+", default=["voxels", "fat", "region", "peers"])
    given = parser.parse_args()
    print(json.dumps(this_machine().as_record()))
    for part, table in (("voxels", voxel_table), ("fat", fat_table)):
        if part in given.parts:
            scores = table(given.draws)
            counting = [s for s in scores if s.bound <= COUNTS_TO]
            print(
                f"{part}: {sum(s.misses for s in scores)} of {len(scores)} cells miss; bound <= 12.5 %: worst bias "
                f"{100 * max(abs(s.bias) for s in counting):.2f} %, worst SD {max(s.sd for s in counting):.3f}"
            )
    if "region" in given.parts:
        region_tables()
    if "peers" in given.parts:
        peer_table(given.draws)


if __name__ == "__main__":
    main()
