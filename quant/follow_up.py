"""Follow-up policy: indication x LIC band -> months, by a named source, or "clinician decides".

No guideline ties a liver MRI interval to the LIC alone, so the table always needs the indication; what is applied
beyond its source's population says so, and a table that no named person has approved says that too. The policy has
its own LIC bands, so that it does not depend on the grade scheme.
"""

import calendar
import math
from dataclasses import dataclass, replace
from datetime import date
from itertools import product

from quant.result import ClinicianDecides, FollowUp, FollowUpInterval

NOT_GIVEN = "not-given"
"""Indication id of "the order names none"; every policy has rules for it."""

CAVEAT = (
    "Transfusion load, a change of chelation, or ferritin moving against the LIC overrides this interval; "
    "the treating clinician decides."
)
SAME_TECHNIQUE = "Repeat with the same technique and calibration."
NOT_APPROVED = "This follow-up policy is not yet approved by the site."


@dataclass(frozen=True, kw_only=True)
class Band:
    """A range of LIC from ``from_mg_per_g`` (inclusive) up to the next band."""

    id: str
    from_mg_per_g: float


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where an interval comes from; ``population`` is whom it was written for."""

    id: str
    citation: str
    population: str
    strength: str


@dataclass(frozen=True, kw_only=True)
class Indication:
    """Why the patient is scanned."""

    id: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. ``months`` (min, max) or ``None`` for "clinician decides"; ``note`` qualifies it in one sentence."""

    id: str
    indications: tuple[str, ...]
    bands: tuple[str, ...]
    months: tuple[int, int] | None
    source: str | None
    population_match: bool
    note: str

    def __post_init__(self) -> None:
        if self.months is None:
            if not self.note:
                raise ValueError(f"rules.{self.id}.note: must say why the clinician decides")
            return
        if not 1 <= self.months[0] <= self.months[1] <= 120:
            raise ValueError(f"rules.{self.id}.months: {list(self.months)} must ascend and lie within 1 to 120")
        if self.source is None:
            raise ValueError(f"rules.{self.id}.source: an interval needs a source")
        if not self.population_match and not self.note:
            raise ValueError(f"rules.{self.id}.note: an interval outside its source's population must say so")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A checked policy table: every indication and band has exactly one rule, every source is there.

    Raises:
        ValueError: it is not so; the text names the key.
    """

    id: str
    version: str
    bands: tuple[Band, ...]
    sources: tuple[Source, ...]
    indications: tuple[Indication, ...]
    rules: tuple[Rule, ...]
    signed_off_by: str | None = None
    signed_off_on: str | None = None

    def __post_init__(self) -> None:
        for name in ("bands", "sources", "indications", "rules"):
            ids = [item.id for item in getattr(self, name)]
            for item_id in ids:
                if ids.count(item_id) > 1:
                    raise ValueError(f"{name}.{item_id}: stands twice")
        starts = [band.from_mg_per_g for band in self.bands]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError("bands: the first must start at 0 and the others ascend")
        if NOT_GIVEN not in self._indication_ids:
            raise ValueError(f"indications: {NOT_GIVEN} is missing")
        for rule in self.rules:
            self._check_names(rule)
        self._check_coverage()

    @property
    def _indication_ids(self) -> tuple[str, ...]:
        return tuple(indication.id for indication in self.indications)

    def _check_names(self, rule: Rule) -> None:
        named = (
            ("indications", rule.indications, self._indication_ids),
            ("bands", rule.bands, tuple(band.id for band in self.bands)),
            ("source", (rule.source,) if rule.source else (), tuple(source.id for source in self.sources)),
        )
        for key, used, known in named:
            for item_id in used:
                if item_id not in known:
                    raise ValueError(f"rules.{rule.id}.{key}: {item_id} is not defined")

    def _check_coverage(self) -> None:
        for indication, band in product(self.indications, self.bands):
            rules = [r.id for r in self.rules if indication.id in r.indications and band.id in r.bands]
            if len(rules) != 1:
                found = f"has {len(rules)} rules ({', '.join(rules)})" if rules else "has no rule"
                raise ValueError(f"rules: indication {indication.id}, band {band.id} {found}; exactly one is needed")

    def indication(self, indication_id: str | None) -> Indication:
        """The indication; ``None`` is "not given".

        Raises:
            ValueError: the policy does not know it; the text lists those it knows.
        """
        wanted = NOT_GIVEN if indication_id is None else indication_id
        for indication in self.indications:
            if indication.id == wanted:
                return indication
        raise ValueError(
            f"indication {indication_id} is not in follow-up policy {self.id} {self.version} "
            f"(possible: {', '.join(self._indication_ids)})"
        )

    def band(self, lic_mg_per_g: float) -> Band:
        """The band that holds this LIC."""
        return max((b for b in self.bands if b.from_mg_per_g <= max(lic_mg_per_g, 0)), key=lambda b: b.from_mg_per_g)

    def rule(self, indication: Indication, lic_mg_per_g: float) -> Rule:
        """The one rule for this indication and LIC."""
        band = self.band(lic_mg_per_g)
        return next(r for r in self.rules if indication.id in r.indications and band.id in r.bands)

    def source(self, source_id: str) -> Source:
        """The source."""
        return next(source for source in self.sources if source.id == source_id)

    def signed(self, by: str | None, on: str | None) -> "Policy":
        """The same table, approved by a named person on a date (``None``: not approved)."""
        return replace(self, signed_off_by=by, signed_off_on=on)

    @property
    def approval(self) -> str:
        """One sentence: who approved the table."""
        if self.signed_off_by is None:
            return NOT_APPROVED
        return f"Policy approved by {self.signed_off_by} on {self.signed_off_on}."


def add_months(day: date, months: int) -> date:
    """``day`` in the calendar month ``months`` later; the month's last day where it has no such day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def follow_up(
    policy: Policy,
    *,
    lic_mg_per_g: float,
    interval95: tuple[float, float],
    indication_id: str | None,
    study_date: date | None,
) -> FollowUp:
    """When to measure again by ``policy``, counted from ``study_date``.

    ``interval95`` is that of the LIC: where it reaches a band with another rule, the text says what that rule is.

    Raises:
        ValueError: ``indication_id`` is not in the policy.
    """
    indication = policy.indication(indication_id)
    rule = policy.rule(indication, lic_mg_per_g)
    neighbours = _neighbours(policy, indication, lic_mg_per_g, interval95)
    if rule.months is None:
        sentences = [
            "No interval is issued; the clinician decides.",
            neighbours,
            f"Indication: {indication.label}.",
            rule.note,
            SAME_TECHNIQUE,
            policy.approval,
            f"(Policy {policy.id} {policy.version}, rule {rule.id}.)",
        ]
        return ClinicianDecides(text=" ".join(sentence for sentence in sentences if sentence))
    assert rule.source is not None  # checked by Rule
    source = policy.source(rule.source)
    dates = [None if study_date is None else add_months(study_date, months) for months in rule.months]
    return FollowUpInterval(
        min_months=rule.months[0],
        max_months=rule.months[1],
        earliest_date=None if dates[0] is None else dates[0].isoformat(),
        latest_date=None if dates[1] is None else dates[1].isoformat(),
        rule_id=f"{policy.id}/{policy.version}/{rule.id}",
        indication=None if indication.id == NOT_GIVEN else indication.id,
        source=source.citation,
        population_match=rule.population_match,
        signed_off_by=policy.signed_off_by,
        text=_interval_text(policy, rule, indication, source, dates, neighbours),
    )


def _neighbours(policy: Policy, indication: Indication, lic_mg_per_g: float, interval95: tuple[float, float]) -> str:
    """What other bands within the interval would say, empty where they say the same."""
    here = policy.rule(indication, lic_mg_per_g)
    starts = [band.from_mg_per_g for band in policy.bands]
    ends = [*starts[1:], math.inf]
    parts = []
    for start, end in zip(starts, ends, strict=True):
        rule = policy.rule(indication, start)
        if rule.months == here.months or end <= interval95[0] or start > interval95[1]:
            continue
        edge = f"from {start:g}" if start > lic_mg_per_g else f"below {end:g}"
        what = "the clinician decides" if rule.months is None else f"the rule is {months_text(*rule.months)}"
        parts.append(f"{edge} mg/g {what}")
    if not parts:
        return ""
    return f"Borderline: the 95 % interval reaches another band; {' and '.join(parts)}."


def _interval_text(
    policy: Policy, rule: Rule, indication: Indication, source: Source, dates: list[date | None], neighbours: str
) -> str:
    assert rule.months is not None  # only called for an interval
    sentences = [
        f"Next measurement in {months_text(*rule.months)}{_dates_text(dates)}.",
        neighbours,
        f"Indication: {indication.label}.",
        f"Source: {source.citation}; written for {source.population}; {source.strength}.",
        rule.note,
        SAME_TECHNIQUE,
        CAVEAT,
        policy.approval,
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def months_text(min_months: int, max_months: int) -> str:
    """``12 to 24 months``, ``12 months``."""
    return f"{min_months} months" if min_months == max_months else f"{min_months} to {max_months} months"


def _dates_text(dates: list[date | None]) -> str:
    first, last = dates
    if first is None or last is None:
        return ""
    return f" (about {first.isoformat()})" if first == last else f" ({first.isoformat()} to {last.isoformat()})"


def technical_repeat(why: str) -> ClinicianDecides:
    """No interval, because the number itself must be measured again first; ``why`` is one sentence."""
    return ClinicianDecides(text=f"No interval is issued. {why} A technical repeat is advised.")


def bounded_follow_up(established: str, why: str, remedy: str) -> ClinicianDecides:
    """No interval, because only a lower bound is known: first what it establishes (one sentence, or empty), last what
    would give a value (one sentence; empty where another scan would not either)."""
    clinician = "The clinician decides on it now; no interval is issued." if established else "No interval is issued."
    repeat = f"A technical repeat is advised to get a value. {remedy}" if remedy else ""
    return ClinicianDecides(text=" ".join(sentence for sentence in (established, clinician, why, repeat) if sentence))


EARLIER_STANDS = ClinicianDecides(
    text="This result has no value and takes none back: the earlier report stays valid, with its follow-up."
)
"""Follow-up of a result that could not replace an earlier one."""


def no_lic(why: str) -> ClinicianDecides:
    """No interval, because there is no LIC to look up; ``why`` is one sentence."""
    return ClinicianDecides(text=f"No interval is issued; the clinician decides. {why}")
