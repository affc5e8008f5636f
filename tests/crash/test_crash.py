"""The short form of ``make crash``: a few acquisitions, a few kills, every promise kept."""

from pathlib import Path

import pytest

from tests.crash.campaign import Campaign, Plan

SEED = 11
COSTLY = frozenset({"whole tree killed", "worker killed, all of it", "assembler killed"})  # tests/whole_node kills them


@pytest.mark.whole_node
@pytest.mark.timeout(900)  # it ends when both numbers are reached; a machine that others use takes minutes for that
def test_a_few_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    pauses_s = {"node": 0.5, "surroundings": 4.0, "destinations": 2.0}
    plan = Plan(
        acquisitions=3, kills=2, seed=SEED, longest_s=600, most_in_flight=6, pauses_s=pauses_s, without=COSTLY
    )  # fmt: skip
    campaign = Campaign(tmp_path / "campaign", plan)
    verdict = campaign.run()
    assert verdict.broken == []
    assert campaign.kills >= 2
    assert verdict.counts["jobs done"] >= len(campaign.acquisitions) >= 1
    assert verdict.counts["objects held by pacs"] == 3 * verdict.counts["jobs done"]
