"""What the next scan has to have so that a fast decay keeps more signal: only what this one did not have already."""

from collections.abc import Sequence

import numpy as np

EARLY_TE_MS = 1.2  # what usual gradients reach at 1.5 T; the advice says 1 ms
CLOSE_SPACING_MS = 1.5
_LOW_FIELD_T = 2.0  # above it the same iron decays about twice as fast (Storey 2007, 10.1002/jmri.20816)


def median_spacing_ms(echo_times_s: Sequence[float]) -> float:
    """The median distance of ``echo_times_s`` (ascending, seconds) in ms; 0 for one echo."""
    return 1000 * float(np.median(np.diff(echo_times_s))) if len(echo_times_s) > 1 else 0.0


def more_signal(echo_times_s: Sequence[float], field_t: float) -> str:
    """One sentence on what keeps more signal than ``echo_times_s`` (ascending, seconds) at ``field_t`` (tesla) did."""
    first_ms, spacing_ms = 1000 * echo_times_s[0], median_spacing_ms(echo_times_s)
    changes = []
    if first_ms > EARLY_TE_MS:
        changes.append(f"a first TE of about 1 ms (now {first_ms:.2f} ms)")
    if spacing_ms > CLOSE_SPACING_MS:
        changes.append(f"an echo spacing below {CLOSE_SPACING_MS:g} ms (now {spacing_ms:.2f} ms)")
    if field_t > _LOW_FIELD_T:
        changes.append("1.5 T if there is a choice")
    changes.append("larger voxels or thicker slices")
    return f"For more signal at the next scan: {'; '.join(changes)}."
