"""The policy's indication from the reasons that an order gives, by the site's table; never guessed."""

from collections.abc import Sequence
from dataclasses import dataclass

from node.config import OrderReason
from node.process.facts import IndicationFacts
from quant.result import QcLine


@dataclass(frozen=True, kw_only=True)
class IndicationFound:
    """``indication`` is ``None`` for "not given"; ``qc`` says where it comes from."""

    indication: str | None
    qc: tuple[QcLine, ...] = ()


def indication_of_order(facts: IndicationFacts, table: Sequence[OrderReason], default: str | None) -> IndicationFound:
    """The one indication that the order's reasons mean.

    Whole texts only: a phrase inside a text may be denied there ("no sickle cell disease"). Reasons that the table does
    not know, or that mean different indications, leave it "not given"; ``default`` is for orders without any reason.
    The quality lines quote the site's table, never the order, which may name a person.
    """
    reasons = {f"{scheme}:{value}".casefold() for value, scheme, _ in facts.codes}
    reasons |= {_plain(words) for words in (*facts.texts, *(meaning for _, _, meaning in facts.codes)) if words}
    if not reasons:
        return IndicationFound(indication=default)
    known = [entry for entry in table if _plain(entry.reason) in reasons]
    meant = sorted({entry.indication for entry in known})
    if not meant:
        text = (
            "The order gives a reason that follow_up.order_reasons does not hold; the indication counts as not given."
        )
        return _said(None, "indication_not_mapped", text)
    if len(meant) > 1:
        text = f"The order's reasons mean different indications ({', '.join(meant)}); it counts as not given."
        return _said(None, "indication_contradicts", text)
    named = ", ".join(entry.reason for entry in known)
    return _said(meant[0], "indication_from_order", f"Indication {meant[0]} from the order's reason ({named}).")


def _said(indication: str | None, code: str, text: str) -> IndicationFound:
    return IndicationFound(indication=indication, qc=(QcLine(code=code, severity="info", text=text),))


def _plain(words: str) -> str:
    return " ".join(words.split()).casefold()
