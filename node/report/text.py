"""The report as plain text for a terminal, worded for a person. Holds no patient identification."""

import textwrap
from collections.abc import Sequence

from node.report.content import Headline, ReportContent, report_content
from quant.result import LiverIronResult

_WIDTH = 88
_INDENT = "  "


def render_text(result: LiverIronResult) -> str:
    """The report of ``result``, ending with a newline."""
    content = report_content(result)
    parts = [_title(content), textwrap.fill(content.revision, _WIDTH), _headline(content.headline)]
    parts += [_section(f"{s.question}: {s.answer}", [s.text]) for s in content.statements]
    parts.append(_section("Why there is no number", content.reasons))
    parts.append(_section("What to do", content.advice))
    parts.append(_table("Numbers", content.numbers))
    parts.append(_table("Calibration", content.calibration))
    others = [f"{other.name}: {other.lic} mg/g ({other.doi})" for other in content.others]
    parts.append(_section("Other published calibrations of this field strength give", others))
    if content.headline.kind != "refused" or content.numbers:
        texts = [text for text in (content.follow_up_flags, content.follow_up_text, content.prior) if text]
        parts.append(_section(f"Follow-up: {content.follow_up_title}", texts))
    parts.append(_section(_warnings_title(content), content.warnings))
    parts.append(_section("Quality notes", content.notes))
    parts.append(_table("Acquisition", content.scanner))
    parts.append(f"{content.method}\n{' '.join(content.labels)}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(content: ReportContent) -> str:
    return f"{content.title}\n{'=' * len(content.title)}"


def _headline(head: Headline) -> str:
    value = " ".join(part for part in (head.prefix, head.value, head.unit) if part)
    if head.kind == "refused":
        return f"{value}: {head.grade}"
    name = "LIC " if head.kind == "lic" else ""
    detail = f"   ({head.grade_detail})" if head.grade_detail else ""
    lines = [f"{name}{value}   ({head.interval})", *([head.change] if head.change else [])]
    lines.append(f"Grade: {head.grade}{detail}")
    if head.borderline:
        lines += [head.borderline, "The choice of calibration is not in these probabilities."]
    return "\n".join(lines)


def _warnings_title(content: ReportContent) -> str:
    return f"Warnings ({len(content.warnings)})" if content.warnings else ""


def _section(title: str, texts: Sequence[str]) -> str:
    if not texts:
        return ""
    bullet = "- " if len(texts) > 1 else ""
    wrapped = [
        textwrap.fill(text, _WIDTH, initial_indent=_INDENT + bullet, subsequent_indent=_INDENT + " " * len(bullet))
        for text in texts
    ]
    return "\n".join([title, *wrapped])


def _table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    if not rows:
        return ""
    width = max(len(label) for label, _ in rows) + 2
    lines = [
        textwrap.fill(
            value,
            _WIDTH,
            initial_indent=f"{_INDENT}{label:<{width}}",
            subsequent_indent=_INDENT + " " * width,
        )
        for label, value in rows
    ]
    return "\n".join([title, *lines])
