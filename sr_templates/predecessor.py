"""The result that a later one takes the place of."""

from dataclasses import dataclass

from quant.result import ResultObject


@dataclass(frozen=True, kw_only=True)
class EarlierResult:
    """The result set of an earlier revision, as far as a later one refers to it."""

    job_id: str
    revision: int
    objects: tuple[ResultObject, ...]
