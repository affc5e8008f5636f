"""Makes the tables of docs/conformance.md from the code that they describe: ``python -m docs.conformance_tables``."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from node.config import ReceiveConfig
from node.deliver.objects import ALTERNATIVES, RESULT_CLASSES
from node.dimse import contexts
from node.dimse.status import Status
from node.intake.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from sr_templates import codes
from sr_templates.codes import PRIVATE_CODES

STATEMENT = Path(__file__).with_name("conformance.md")
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_LIMITS = {
    "max_associations": "associations at the same time",
    "max_associations_per_host": "of these from one address",
    "max_pdu_bytes": "largest PDU, bytes",
    "max_instance_mib": "largest data set, MiB",
    "pdu_timeout_s": "time for one whole PDU, s",
    "idle_timeout_s": "silence before an association is closed, s",
    "association_timeout_s": "longest association, s",
}
_OF_C_STORE = (
    (Status.SUCCESS, "the instance is durable, or was there already, byte for byte"),
    (Status.OUT_OF_RESOURCES, "no space: try again later"),
    (Status.PROCESSING_FAILURE, "another fault of the disk: try again later"),
    (Status.DUPLICATE_SOP_INSTANCE, "the SOP Instance UID is known with other content; the first is kept"),
    (Status.INVALID_SOP_INSTANCE, "the SOP Instance UID is not a UID"),
    (Status.SOP_CLASS_NOT_SUPPORTED, "the SOP class is not taken"),
    (Status.RESOURCE_LIMITATION, "larger than receive.max_instance_mib"),
    (Status.DATA_SET_DOES_NOT_MATCH, "data set and command name different classes or instances"),
    (Status.CANNOT_UNDERSTAND, "cut off, or not encoded as negotiated"),
)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *map(list, rows)]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(lines[0]), *text[1:]]) + "\n"


def _named(found: Mapping[str, str], what: str) -> str:
    return _table((what, "UID"), ((name, uid) for uid, name in found.items()))


def _services() -> str:
    processed, companions = contexts.PROCESSED_SOP_CLASSES, len(contexts.STORED_SOP_CLASSES)
    offered = {str(context.abstract_syntax) for context in contexts.supported_contexts(commitment=True)}
    rows = [
        ("Verification", "yes", "yes"),
        ("Storage, SOP classes", f"{len({uid for uid, _ in RESULT_CLASSES.values()})}", f"{companions}"),
        ("of these processed", "", f"{len(processed)}"),
        ("Storage Commitment Push Model", "yes", "yes" if contexts.COMMITMENT_SOP_CLASS in offered else "no"),
        ("Query/Retrieve, Study Root", "yes", "no"),
    ]
    return _table(("service", "SCU", "SCP"), rows)


def _association() -> str:
    fields = ReceiveConfig.model_fields
    rows = [
        ("Application Context", "1.2.840.10008.3.1.1.1", ""),
        ("Implementation Class UID", IMPLEMENTATION_CLASS_UID, ""),
        ("Implementation Version Name", IMPLEMENTATION_VERSION_NAME, ""),
        *((text, f"{fields[key].default}", f"receive.{key}") for key, text in _LIMITS.items()),
    ]
    return _table(("", "value", "key"), rows)


def _statuses() -> str:
    return _table(("status", "when"), ((f"{int(status):04X}", text) for status, text in _OF_C_STORE))


def _results() -> str:
    rows = [
        (f"`{role}`", name, uid, ", ".join(f"`{other}`" for other in ALTERNATIVES.get(role, ())) or "")
        for role, (uid, name) in RESULT_CLASSES.items()
    ]
    return _table(("role", "SOP class", "UID", "where refused"), rows)


def _private_codes() -> str:
    rows = ((code.value, code.meaning, code.definition) for code in PRIVATE_CODES.values())
    return _table(("value", "meaning", "definition"), rows)


def _units() -> str:
    found = [code for code in vars(codes).values() if getattr(code, "scheme_designator", "") == "UCUM"]
    rows = sorted({(code.value, code.meaning) for code in found})
    return _table(("UCUM", "meaning"), rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "services": _services,
    "association": _association,
    "processed": lambda: _named(contexts.PROCESSED_SOP_CLASSES, "SOP class"),
    "companions": lambda: _named(contexts.COMPANION_SOP_CLASSES | contexts.PRIVATE_SOP_CLASSES, "SOP class"),
    "syntaxes": lambda: _named(contexts.STORED_TRANSFER_SYNTAXES, "transfer syntax"),
    "statuses": _statuses,
    "results": _results,
    "private_codes": _private_codes,
    "units": _units,
}


def with_tables(text: str) -> str:
    """The statement with its tables made anew."""
    return _TABLE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)


if __name__ == "__main__":
    STATEMENT.write_text(with_tables(STATEMENT.read_text(encoding="utf-8")), encoding="utf-8")
