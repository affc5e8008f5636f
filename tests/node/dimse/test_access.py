"""Who may call."""

import pytest

from node.config import AllowedPeer
from node.dimse.access import AllowList


def allow_list(*entries: tuple[str, str], **names: set[str]) -> AllowList:
    peers = [AllowedPeer(ae_title=title, host=host) for title, host in entries]
    return AllowList(peers, resolver=lambda host: names.get(host, set()))


def test_an_empty_list_admits_nobody() -> None:
    assert not allow_list().admits("MR1", "10.1.2.3")
    assert not allow_list().knows_title("MR1")


@pytest.mark.parametrize(
    ("title", "address", "admitted"),
    [
        ("MR1", "10.1.2.3", True),
        ("MR1  ", "10.1.2.3", True),
        ("MR1", "::ffff:10.1.2.3", True),
        ("MR1", "10.1.2.4", False),
        ("MR2", "10.1.2.3", False),
        ("mr1", "10.1.2.3", False),
        ("", "10.1.2.3", False),
    ],
)
def test_title_and_address_belong_together(title: str, address: str, admitted: bool) -> None:
    assert allow_list(("MR1", "10.1.2.3"), ("MR2", "10.9.9.9")).admits(title, address) is admitted


def test_a_mapped_address_in_the_list_is_the_plain_one() -> None:
    assert allow_list(("MR1", "::ffff:10.1.2.3")).admits("MR1", "10.1.2.3")


def test_ipv6_spellings_and_zones_do_not_matter() -> None:
    allowed = allow_list(("MR1", "fe80:0:0:0:0:0:0:1"))
    assert allowed.admits("MR1", "fe80::1%eth0")


def test_a_host_name_stands_for_every_address_it_has() -> None:
    allowed = allow_list(("MR1", "scanner"), scanner={"10.1.2.3", "2001:db8::1"})
    assert allowed.admits("MR1", "10.1.2.3")
    assert allowed.admits("MR1", "2001:db8:0::1")
    assert not allowed.admits("MR1", "10.1.2.4")


def test_a_name_that_cannot_be_resolved_admits_nobody() -> None:
    assert not allow_list(("MR1", "scanner")).admits("MR1", "10.1.2.3")


def test_stars_mean_any() -> None:
    assert allow_list(("*", "10.1.2.3")).admits("WHOEVER", "10.1.2.3")
    assert not allow_list(("*", "10.1.2.3")).admits("WHOEVER", "10.1.2.4")
    assert allow_list(("MR1", "*")).admits("MR1", "192.0.2.1")
    assert allow_list(("*", "*")).open_to_all
    assert not allow_list(("*", "10.1.2.3"), ("MR1", "*")).open_to_all


def test_names_are_looked_up_again_after_a_while() -> None:
    now_s, asked, addresses = [0.0], [], [{"10.0.0.1"}, {"10.0.0.2"}]

    def resolver(host: str) -> set[str]:
        asked.append(host)
        return addresses[len(asked) - 1]

    allowed = AllowList([AllowedPeer(ae_title="MR1", host="mr")], resolver=resolver, clock_s=lambda: now_s[0])
    assert allowed.admits("MR1", "10.0.0.1")
    assert allowed.admits("MR1", "10.0.0.1")
    assert asked == ["mr"]
    now_s[0] = 61.0
    assert not allowed.admits("MR1", "10.0.0.1")
    assert allowed.admits("MR1", "10.0.0.2")
