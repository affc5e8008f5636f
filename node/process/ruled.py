"""The site's rules asked about files on disk, as the node asks them about what it received; and the answer in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from node.config import Config, Rule
from node.intake.assembly import AcquisitionPlan
from node.intake.headers import is_self_test
from node.intake.rules import Ruling, judge, rule_on
from node.process.found import Found, read_headers


@dataclass(frozen=True, kw_only=True)
class Ruled:
    """A group of images as the node forms it, and what the rules say of it.

    ``declined`` is the reason that counts: what cannot be measured anyway is declined for that. ``destinations`` are
    the names of who gets the results.
    """

    plan: AcquisitionPlan
    files: tuple[Path, ...]
    ruling: Ruling
    declined: tuple[str, str] | None
    destinations: tuple[str, ...]


def ruled_plans(found: Found, rules: Sequence[Rule]) -> tuple[AcquisitionPlan, ...]:
    """What the files hold; declined is also what a rule declines."""
    return tuple(
        plan if plan.declined is not None else replace(plan, declined=_ruling(plan, found, rules).declined)
        for plan in found.plans()
    )


def rule_files(paths: Sequence[Path], config: Config) -> tuple[list[Ruled], list[str]]:
    """Every group of images in files and folders, and in words what was left out because it cannot be read.

    Raises:
        InputError: nothing readable was found, or a file that was named cannot be read.
    """
    left_out: list[str] = []
    found = read_headers(paths, left_out.append)
    return [_ruled(plan, found, config) for plan in found.plans()], left_out


def _ruled(plan: AcquisitionPlan, found: Found, config: Config) -> Ruled:
    ruling = _ruling(plan, found, config.rules)
    declined = plan.declined or ruling.declined
    nobody = declined is not None or is_self_test(plan.headers)
    return Ruled(
        plan=plan,
        files=_files(plan, found),
        ruling=ruling,
        declined=declined,
        destinations=() if nobody else tuple(r.name for r in config.receivers_of(ruling.destinations)),
    )


def _ruling(plan: AcquisitionPlan, found: Found, rules: Sequence[Rule]) -> Ruling:
    return judge((), {}) if is_self_test(plan.headers) else rule_on(rules, _files(plan, found))


def _files(plan: AcquisitionPlan, found: Found) -> tuple[Path, ...]:
    return tuple(sorted(found.files[header.sop_instance_uid] for header in plan.headers))


def as_text(ruled: Ruled) -> str:
    """Each rule with the tests that decided whether it matches, then what happens to the images."""
    more = f" and {len(ruled.files) - 1} more" if len(ruled.files) > 1 else ""
    return "\n".join([f"{ruled.files[0]}{more}", *_rule_lines(ruled.ruling), f"  decision: {_decision(ruled)}"])


def _rule_lines(ruling: Ruling) -> Iterator[str]:
    for answer in ruling.answers:
        late = "" if answer.rule is ruling.rule or not answer.matches else ", but an earlier rule decides"
        yield f"  rule {answer.rule.name}: {'matches' if answer.matches else 'does not match'}{late}"
        yield from (f"    {leaf}" for leaf in answer.because)


def _decision(ruled: Ruled) -> str:
    rule = ruled.ruling.rule
    if ruled.plan.declined is not None:
        code, text = ruled.plan.declined
        return f"declined [{code}], whatever the rules say: {text}"
    if ruled.declined is not None:
        return f"declined [{ruled.declined[0]}]: {ruled.declined[1]}"
    if is_self_test(ruled.plan.headers):
        return "measured, and sent to nobody: the node's own self-test, about which rules are not asked"
    to = ", ".join(ruled.destinations) or "nobody, for the configuration names no destination"
    return f"measured; results go to {to} ({'no rule matches' if rule is None else f'rule {rule.name}'})"


def as_record(ruled: Ruled) -> dict[str, Any]:
    """The same as plain JSON types."""
    rule = ruled.ruling.rule
    return {
        "files": [str(file) for file in ruled.files],
        "study_instance_uid": ruled.plan.study_instance_uid,
        "rules": [
            {
                "name": answer.rule.name,
                "matches": answer.matches,
                "because": [
                    {
                        "tag": leaf.element,
                        "values": list(leaf.found),
                        "test": leaf.test,
                        "holds": leaf.holds,
                        "negated": leaf.negated,
                    }
                    for leaf in answer.because
                ],
            }
            for answer in ruled.ruling.answers
        ],
        "decided_by": None if rule is None or ruled.plan.declined is not None else rule.name,
        "declined": None if ruled.declined is None else {"code": ruled.declined[0], "text": ruled.declined[1]},
        "destinations": list(ruled.destinations),
    }
