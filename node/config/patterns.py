"""Regular expressions that cannot run away, by RE2.

A value comes from whoever may send, and a matcher that backtracks can be kept busy for hours by one. RE2's work grows
with the length of the value and nothing else; what it would need backtracking for, it does not take.
"""

from collections.abc import Callable
from functools import lru_cache

import re2

LONGEST_VALUE = 1024
"""Characters; a longer value matches nothing."""
_LONGEST_PATTERN = 256


class PatternError(ValueError):
    """A pattern that is not taken; the text says why."""


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """The test whether a whole text matches; capitals count, a dot is any character.

    Raises:
        PatternError: RE2 does not take the pattern, or it is too long.
    """
    if len(pattern) > _LONGEST_PATTERN:
        raise PatternError(f"a pattern has at most {_LONGEST_PATTERN} characters")
    options = re2.Options()
    options.log_errors, options.dot_nl = False, True
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise PatternError(_words(error)) from error
    return lambda text: len(text) <= LONGEST_VALUE and compiled.fullmatch(text) is not None


def _words(error: re2.error) -> str:
    told = error.args[0] if error.args else error
    return told.decode(errors="replace") if isinstance(told, bytes) else str(told)
