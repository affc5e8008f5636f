"""Images that a measured acquisition should have held and does not: named, for what is lost must not be lost silently.

An image is missed when it is of the acquisition's own series, or was acquired at the same moment (a scanner acquires
one thing at a time), and is neither part of the grid nor one of the images that may lie beside it.
"""

from collections.abc import Sequence
from itertools import pairwise

from node.intake.admission import RIDES_ALONG
from node.intake.grid import ECHO_TIME_TOLERANCE_S
from node.intake.sisters import SISTERS_WITHIN_S, differences
from node.intake.stacks import SAME_MOMENT_S, same_frame
from node.model import InstanceHeader

Headers = Sequence[InstanceHeader]
Reason = tuple[str, str]

_UNPAIRED = frozenset({"ambiguous_planes", "equal_echo_times", "no_magnitude", "too_few_echoes"})
_ANOTHER_SEQUENCE = frozenset({"spin_echo", "echo_planar", "epi_mosaic", "not_mr", "colour"})
"""What other scans of a study are declined for: missed only where the moment says that they belong here."""


def missed(ours: Headers, theirs: Headers, declined: Reason | None, *, final: bool) -> str:
    """What images of another group are to the acquisition ``ours``, in words; empty when nothing is amiss with them.

    ``declined`` is why the other group is not measured, if it is not; ``final``: more images could not change that.
    """
    return (
        _same_series(ours, theirs, declined, final)
        or _other_train(ours, theirs, declined)
        or _same_moment(ours, theirs, declined)
        or _unpaired(ours, theirs, declined)
    )


def _same_series(ours: Headers, theirs: Headers, declined: Reason | None, final: bool) -> str:
    series = {header.series_instance_uid for header in ours}
    found = [header for header in theirs if header.series_instance_uid in series]
    if not found:
        return ""
    if declined is not None and (final or declined[0] != "too_few_echoes"):
        return _declined_words(ours, found, declined, "of the same series")
    if theirs[0].group_key != ours[0].group_key:
        return f"{len(found)} images of the same series that differ in {_differing(ours, theirs)}"
    if not same_frame(ours[0], theirs[0]):
        return f"{len(found)} images of the same series that lie in another plane"
    others = _other_echoes(ours, theirs)
    return f"{len(found)} images of the same series with other echo times ({others})" if others else ""


def _differing(ours: Headers, theirs: Headers) -> str:
    if ours[0].group_facts is None or theirs[0].group_facts is None:  # headers that an earlier version wrote
        return (
            "matrix, pixel spacing, frame of reference, field strength, repetition time, flip angle or inversion time"
        )
    return differences(ours, theirs[:1])


def _other_train(ours: Headers, theirs: Headers, declined: Reason | None) -> str:
    """A second echo train of the same slices whose echoes lie between ours, as sequences interleave them to halve the
    echo spacing."""
    if declined is not None or theirs[0].group_key != ours[0].group_key or not same_frame(ours[0], theirs[0]):
        return ""
    apart_s = [
        abs(a - b)
        for a in {header.acquired_s for header in ours}
        for b in {header.acquired_s for header in theirs}
        if a is not None and b is not None
    ]
    times = [(time, whose) for whose, group in ((0, ours), (1, theirs)) for time in _echo_times_s(group)]
    owners = [whose for _, whose in sorted(times)]
    if not apart_s or min(apart_s) > SISTERS_WITHIN_S or any(a == b for a, b in pairwise(owners)):
        return ""
    return (
        f"{len(theirs)} images with a second echo train ({_other_echoes(ours, theirs)}), acquired "
        f"{min(apart_s):.0f} s apart; two trains are not joined"
    )


def _same_moment(ours: Headers, theirs: Headers, declined: Reason | None) -> str:
    """Echoes in series of their own whose images are all of no use, or fit into no grid with the others."""
    found = [header for header in theirs if _simultaneous(ours, header, declined)]
    if not found:
        return ""
    if declined is not None and not any(header.planes for header in found):
        return _declined_words(ours, found, declined, "acquired at the same moment")
    others = _other_echoes(ours, found)
    return (
        f"{len(found)} images acquired at the same moment, of {others}, that fit no grid with the rest"
        if others
        else ""
    )


def _simultaneous(ours: Headers, header: InstanceHeader, declined: Reason | None) -> bool:
    """Whether the scanner's clock says so; where neither side has one, whether nothing says otherwise."""
    moments = [known.acquired_s for known in ours if known.acquired_s is not None]
    if header.acquired_s is not None:
        return any(abs(moment - header.acquired_s) <= SAME_MOMENT_S for moment in moments)
    return not moments and declined is not None and not header.planes and declined[0] not in _ANOTHER_SEQUENCE


def _declined_words(ours: Headers, found: Headers, declined: Reason, where: str) -> str:
    if declined[0] not in RIDES_ALONG:
        return f"{len(found)} images {where} {_why(declined)}"
    alone = [header for header in found if _echo_called_derived(ours, header)]
    return f"{len(alone)} images {where} at other echo times {_why(declined)}" if alone else ""


def _why(declined: Reason) -> str:
    """The first sentence of a reason: it becomes part of one."""
    code, text = declined
    return f"({code}): {text.partition('. ')[0]}"


def _echo_called_derived(ours: Headers, header: InstanceHeader) -> bool:
    """Whether an image that names no map stands at an echo time of its own; computed images repeat a measured one."""
    known = _echo_times_s(ours)
    return any(not _known(time, known) for time in header.told_echo_times_s)


def _unpaired(ours: Headers, theirs: Headers, declined: Reason | None) -> str:
    """Images of another kind, for the same slices, that cannot be paired with ours; empty when there are none."""
    if declined is None or declined[0] not in _UNPAIRED or not any(header.planes for header in theirs):
        return ""
    same_place = theirs[0].group_key == ours[0].group_key
    unpaired = _kinds(theirs) - _kinds(ours)
    if not same_place or not same_frame(ours[0], theirs[0]) or not unpaired:
        return ""
    return f"{len(theirs)} objects with {' and '.join(sorted(unpaired))} {_why(declined)}"


def _other_echoes(ours: Headers, theirs: Headers) -> str:
    """The echo times that only ``theirs`` have, in words; empty when there are none."""
    known = _echo_times_s(ours)
    times = sorted(time for time in _echo_times_s(theirs) if not _known(time, known))
    return f"{', '.join(dict.fromkeys(f'{1000 * time:.4g}' for time in times))} ms" if times else ""


def _known(echo_time_s: float, known: set[float]) -> bool:
    return any(abs(echo_time_s - other) <= ECHO_TIME_TOLERANCE_S for other in known)


def _kinds(headers: Headers) -> set[str]:
    return {plane.kind for header in headers for plane in header.planes}


def _echo_times_s(headers: Headers) -> set[float]:
    return {plane.echo_time_s for header in headers for plane in header.planes}
