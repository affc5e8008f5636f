"""What the next scan has to have so that a fast decay keeps more signal: only what this one did not have already."""

from collections.abc import Sequence

import numpy as np

EARLY_TE_MS = 1.2  # what usual gradients reach at 1.5 T; the advice says 1 ms
CLOSE_SPACING_MS = 1.5
_LOW_FIELD_T = 2.0  # above it the same iron decays about twice as fast (Storey 2007, 10.1002/jmri.20816)


def more_signal(echo_times_s: Sequence[float], field_t: float) -> str:
    """One sentence on what keeps more signal than ``echo_times_s`` (ascending, seconds) at ``field_t`` (tesla) did."""
    times_ms = 1000 * np.asarray(echo_times_s)
    first_ms = float(times_ms[0])
    spacing_ms = float(np.median(np.diff(times_ms))) if times_ms.size > 1 else 0.0
    changes = []
    if first_ms > EARLY_TE_MS:
        changes.append(f"a first TE of about 1 ms (now {first_ms:.2f} ms)")
    if spacing_ms > CLOSE_SPACING_MS:
        changes.append(f"an echo spacing below {CLOSE_SPACING_MS:g} ms (now {spacing_ms:.2f} ms)")
    if field_t > _LOW_FIELD_T:
        changes.append("1.5 T if there is a choice")
    changes.append("larger voxels or thicker slices")
    return f"For more signal at the next scan: {'; '.join(changes)}."
