"""The receiver overrides private parts of pynetdicom: an upgrade must be noticed here, not in a hospital."""

from importlib.metadata import version

import pytest
from pynetdicom import evt
from pynetdicom.acse import ACSE
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE, InvalidEventError
from pynetdicom.timer import Timer
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler

METHODS = {
    ACSE: ("_negotiate_as_acceptor", "is_aborted", "is_release_requested", "send_accept", "send_reject"),
    Association: ("_bind_defaults", "_run_reactor", "_serve_request", "abort", "kill", "run_reactor", "set_socket"),
    AssociationServer: ("server_close", "shutdown", "verify_request"),
    AssociationSocket: ("_shutdown_socket", "close", "ready", "recv"),
    DULServiceProvider: ("_decode_pdu", "_read_pdu_data", "_send", "idle_timer_expired", "kill_dul", "run_reactor"),
    RequestHandler: ("_create_association", "local"),
    Timer: ("expired", "remaining", "start", "stop"),
}
ATTRIBUTES = {
    "association": ("_accepted_cx", "_handlers", "_kill", "_server", "acse", "dimse", "dul", "is_established"),
    "provider": ("_idle_timer", "_kill_thread", "_recv_pdu", "_run_loop_delay", "event_queue", "to_provider_queue"),
}


def test_the_version_is_the_one_that_was_measured() -> None:
    assert version("pynetdicom") == "3.0.4"


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in METHODS.items() for name in names])
def test_every_overridden_method_exists(owner: type, name: str) -> None:
    assert hasattr(owner, name)


def test_every_attribute_used_exists() -> None:
    association = Association(ApplicationEntity(), "acceptor")
    for name in ATTRIBUTES["association"]:
        assert hasattr(association, name), name
    for name in ATTRIBUTES["provider"]:
        assert hasattr(association.dul, name), name
    assert hasattr(evt, "_INTERVENTION_EVENTS")


def test_the_state_machine_aborts_on_what_we_report() -> None:
    assert TRANSITION_TABLE["Evt19", "Sta6"] == "AA-8"  # invalid PDU while established: A-ABORT
    assert TRANSITION_TABLE["Evt19", "Sta2"] == "AA-1"  # invalid request: A-ABORT
    assert TRANSITION_TABLE["Evt17", "Sta6"] == "AA-4"  # connection closed: indication to the user
    assert issubclass(InvalidEventError, Exception)
