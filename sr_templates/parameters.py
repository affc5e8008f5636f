"""How the report writes, as text, what has no concept of its own: one home for who writes it and who reads it back."""

from collections.abc import Sequence

ECHO_TIMES = "Echo times [ms]"
SIGNAL = "Signal"
SIGNAL_MODEL = "Signal model"
_METHOD = ", method "


def version_text(software_version: str, method_version: str) -> str:
    """Algorithm Version."""
    return f"{software_version}{_METHOD}{method_version}"


def method_of(version: str) -> str:
    """The method version in an Algorithm Version; empty where it names none."""
    return version.partition(_METHOD)[2]


def parameter_text(name: str, value: str) -> str:
    """One Algorithm Parameters item."""
    return f"{name}: {value}"


def parameter_of(texts: Sequence[str], name: str) -> str:
    """The value of the parameter of this name; empty where there is none."""
    start = parameter_text(name, "")
    return next((text.removeprefix(start) for text in texts if text.startswith(start)), "")


def echo_times_text(echo_times_s: Sequence[float]) -> str:
    """Echo times in ms, to the microsecond."""
    return ", ".join(f"{1000 * t:.3f}" for t in echo_times_s)


def echo_times_of(text: str) -> tuple[float, ...]:
    """Echo times in s.

    Raises:
        ValueError: the text is none of ``echo_times_text``.
    """
    return tuple(float(part) / 1000 for part in text.split(","))
