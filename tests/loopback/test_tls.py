"""TLS on both sides, with DCMTK (OpenSSL) as the other one; who does not fit gets a plain reason."""

import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.config import CallerTls, ListenerTls
from node.dimse.acceptor import StoringAssociation
from node.dimse.requestor import Context, Peer, Requestor
from node.dimse.scp import Listener
from node.dimse.scu import echo, send
from node.dimse.status import Status
from node.dimse.upper_layer import PromptSocket
from node.errors import ConfigError, PeerError
from node.intake.spool import Spool
from node.model import StoreStatus
from node.tls import FollowedContext, caller_context
from tests.certificates import Pair, Site
from tests.loopback.callers import EXPLICIT_LITTLE, MR_IMAGE, RawCaller, eventually, store
from tests.loopback.test_send import at, images
from tests.node.intake.encoded_images import encoded, image, written

StartListener = Callable[..., Listener]
_LONG_S = 60.0  # a loaded machine is done by then
ECHO_CONTEXT = Context(sop_class_uid=MR_IMAGE, transfer_syntax_uid=EXPLICIT_LITTLE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Another authority, which nobody here believes."""
    return Site(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture
def faults(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The texts of ``tls_failed`` so far, as often as each was met; all of them once the listener has stopped."""
    caplog.set_level(logging.DEBUG, "ironnode")

    def texts() -> list[str]:
        told = [r.fields for r in caplog.records if getattr(r, "event", "") == "tls_failed"]
        return [fields["text"] for fields in told for _ in range(fields["count"])]

    return texts


def peer_of(listener: Listener, tls: CallerTls | None) -> Peer:
    return Peer(ae_title="IRONNODE", host="127.0.0.1", port=listener.port, tls=tls, tls_key="destinations.pacs.tls.")


def associate(listener: Listener, tls: CallerTls | None, timeout_s: float = 10) -> Requestor:
    return Requestor(peer_of(listener, tls), [ECHO_CONTEXT], calling_ae_title="MR1", timeout_s=timeout_s)


def dcmtk(program: Path, listener: Listener, *options: object) -> subprocess.CompletedProcess[str]:
    arguments = [program, "-aet", "MR1", "-aec", "IRONNODE", *options[:-1], "127.0.0.1", listener.port, options[-1]]
    command = [str(a) for a in arguments if a != ""]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


# ------------------------------------------------------------------ we listen


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_instances_arrive_over_tls_byte_for_byte(
    start_listener: StartListener, spool: Spool, site: Site, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only(tls: CallerTls, key: str) -> ssl.SSLContext:
        context = caller_context(tls, key)
        context.maximum_version = version
        return context

    monkeypatch.setattr("node.connections.caller_context", only)
    listener = start_listener(tls=site.listener())
    data = encoded(image("1.2.3.4", rows=400))  # many TLS records in one PDU, and several PDUs in one read
    with associate(listener, site.caller()) as association:
        spoken = association._socket
        assert isinstance(spoken, ssl.SSLSocket)
        assert spoken.version() == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]
        assert "GCM" in spoken.cipher()[0]
        assert store(association, data).status == Status.SUCCESS
        assert store(association, sop_instance_uid="1.2.3.5").status == Status.SUCCESS
    assert spool.inbox()[0].path.read_bytes().endswith(data)
    eventually(lambda: listener.counts.open == 0)


def test_several_small_pdus_in_one_record_do_not_wait(start_listener: StartListener, site: Site) -> None:
    """What OpenSSL has decrypted already is invisible to poll(2)."""
    from node.dimse.command import command_pdu, encode_echo_request

    listener = start_listener(tls=site.listener())
    verification = Context(sop_class_uid="1.2.840.10008.1.1", transfer_syntax_uid=EXPLICIT_LITTLE)
    association = Requestor(
        peer_of(listener, site.caller()), [verification], calling_ae_title="MR1", timeout_s=5
    )  # fmt: skip
    with association:
        requests = b"".join(
            command_pdu(1, encode_echo_request(association.next_message_id(), "1.2.840.10008.1.1")) for _ in range(2)
        )
        started = time.monotonic()
        association._socket.sendall(requests)
        association._message_id = 1
        association._next_response()
        association._message_id = 2
        association._next_response()
        assert time.monotonic() - started < 0.4  # the poll's own wait is 0.5 s


def test_dcmtk_stores_over_tls_and_a_caller_without_certificate_is_refused(
    start_listener: StartListener, spool: Spool, site: Site, stranger: Site, peer: Callable[[str], Path],
    tmp_path: Path, faults: Callable[[], list[str]],
) -> None:  # fmt: skip
    listener = start_listener(tls=site.listener(mutual=True))
    path = tmp_path / "image.dcm"
    path.write_bytes(written(image("1.2.3.4")))
    known = site.issue("caller.example", file="dcmtk")
    sent = dcmtk(peer("storescu"), listener, "+tls", known.key, known.certificate, "+cf", site.ca, path)
    assert sent.returncode == 0, sent.stderr
    assert len(spool.inbox()) == 1
    assert faults() == []

    anonymous = dcmtk(peer("echoscu"), listener, "+tla", "+cf", site.ca, "")
    assert anonymous.returncode != 0
    eventually(lambda: faults() == ["it shows no certificate"])

    other = stranger.issue("caller.example", file="dcmtk")
    refused = dcmtk(peer("echoscu"), listener, "+tls", other.key, other.certificate, "+cf", site.ca, "")
    assert refused.returncode != 0
    eventually(lambda: len(faults()) == 2)
    assert "certificate is not accepted" in faults()[1]
    eventually(lambda: listener.counts.open == 0)
    assert listener.counts.accepted == 1


@pytest.mark.parametrize("shown", [True, False])
def test_a_peer_that_refuses_our_certificate_is_told_so_in_words(
    start_listener: StartListener, site: Site, stranger: Site, shown: bool
) -> None:
    listener = start_listener(tls=site.listener(mutual=True))
    pair = stranger.issue("caller.example", file="caller")
    tls = CallerTls(ca=site.ca, certificate=pair.certificate, key=pair.key) if shown else site.caller()
    verification = Context(sop_class_uid="1.2.840.10008.1.1", transfer_syntax_uid=EXPLICIT_LITTLE)
    with pytest.raises(PeerError, match=r"our certificate|certificate of ours") as refused:
        Requestor(peer_of(listener, tls), [verification], calling_ae_title="MR1", timeout_s=5)
    assert "_ssl.c" not in str(refused.value)


def test_without_client_ca_an_anonymous_caller_of_the_allow_list_gets_in(
    start_listener: StartListener, site: Site, peer: Callable[[str], Path]
) -> None:
    listener = start_listener(tls=site.listener())
    assert dcmtk(peer("echoscu"), listener, "+tla", "+cf", site.ca, "").returncode == 0


@pytest.mark.parametrize(
    ("version", "ciphers", "text"),
    [
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0", "it offers no TLS version from 1.2 on"),
        (ssl.TLSVersion.TLSv1_2, "AES128-SHA:@SECLEVEL=0", "it offers no cipher suite of BCP 195"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA", "it offers no cipher suite of BCP 195"),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_what_bcp_195_rules_out_is_refused(
    start_listener: StartListener, site: Site, faults: Callable[[], list[str]],
    version: ssl.TLSVersion, ciphers: str, text: str,
) -> None:  # fmt: skip
    listener = start_listener(tls=site.listener())
    context = ssl.create_default_context(cafile=site.ca)
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers)
    with socket.create_connection(("127.0.0.1", listener.port)) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="127.0.0.1")
    eventually(lambda: faults() == [text])


def test_a_plain_caller_of_a_tls_port_and_the_other_way_round(
    start_listener: StartListener, site: Site, faults: Callable[[], list[str]], peer: Callable[[str], Path]
) -> None:
    secured, plain = start_listener(tls=site.listener()), start_listener()
    with pytest.raises(PeerError, match="a port for TLS does that to callers without"):
        associate(secured, None)
    eventually(lambda: faults() == ["it does not speak TLS"])
    assert dcmtk(peer("echoscu"), secured, "").returncode != 0
    with pytest.raises(PeerError, match=r"does it speak TLS on this port|does not speak TLS"):
        associate(plain, site.caller())
    eventually(lambda: len(faults()) == 2)
    assert faults()[1] == "it speaks TLS, and this port does not (receive.tls)"
    secured.stop(timeout_s=2)
    assert faults()[2:] == ["it does not speak TLS"]


def test_silent_callers_do_not_hold_up_the_others_and_are_dropped(
    start_listener: StartListener, site: Site, faults: Callable[[], list[str]]
) -> None:
    listener = start_listener(tls=site.listener(), pdu_timeout_s=1.0)
    silent = [RawCaller(listener) for _ in range(6)]
    started = time.monotonic()
    associate(listener, site.caller()).release()
    assert time.monotonic() - started < 0.9
    for caller in silent:
        assert caller.answer() == b""
        caller.socket.close()
    assert time.monotonic() - started < 5
    eventually(lambda: not [t for t in threading.enumerate() if "AcceptorThread" in t.name])
    listener.stop(timeout_s=2)
    assert faults() == ["no TLS handshake in time"] * 6


@pytest.mark.parametrize("begun", [True, False])
def test_a_stop_cuts_handshakes_off(
    start_listener: StartListener, site: Site, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """Also one that begins when its association has been told to end. Nothing else would end them for minutes."""
    told = threading.Event()
    secure, end = PromptSocket.secure, StoringAssociation.end

    def secure_late(connection: PromptSocket, context: ssl.SSLContext) -> None:
        assert told.wait(_LONG_S)
        secure(connection, context)

    def tell(association: StoringAssociation) -> None:
        end(association)
        told.set()

    monkeypatch.setattr(StoringAssociation, "end", tell)
    if not begun:
        monkeypatch.setattr(PromptSocket, "secure", secure_late)
    listener = start_listener(tls=site.listener(), pdu_timeout_s=2 * _LONG_S)
    with RawCaller(listener) as caller:
        caller.send(b"\x16\x03\x01")
        eventually(lambda: any(a.connection.securing or not begun for a in listener._desk._connected))
        stopping = threading.Thread(target=listener.stop, args=(2 * _LONG_S,))
        stopping.start()
        stopping.join(_LONG_S)
        assert not stopping.is_alive()
        assert caller.answer() == b""


def test_a_replaced_certificate_is_used_without_a_restart_and_half_of_one_is_not(
    start_listener: StartListener, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "ironnode")
    old, new = Site(tmp_path / "old", "old"), Site(tmp_path / "new", "new")
    tls = old.listener()
    listener = start_listener(tls=tls)
    established = associate(listener, old.caller())
    fresh: Pair = new.issue()
    shutil.copy(fresh.certificate, tls.certificate)  # its key has not been written yet
    associate(listener, old.caller()).release()
    (told,) = [r.fields["error"] for r in caplog.records if getattr(r, "event", "") == "certificate_unusable"]
    assert f"receive.tls.key: {tls.key} is not the key of {tls.certificate}" in told
    shutil.copy(fresh.key, tls.key)
    associate(listener, new.caller()).release()
    with pytest.raises(PeerError, match="its certificate is not accepted"):
        associate(listener, old.caller())
    with established:
        assert store(established).status == Status.SUCCESS  # an open association keeps what it was made with


# ------------------------------------------------------------------ we call


@pytest.fixture
def secured_peer(peer: Callable[[str], Path], tmp_path: Path, site: Site) -> Iterator[Callable[..., int]]:
    """Starts DCMTK's storescp over TLS; gives its port."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> int:
        pair = site.issue("127.0.0.1", file="pacs")
        folder = tmp_path / "pacs"
        folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        arguments = ["+tls", pair.key, pair.certificate, "+cf", site.ca, *options, "-od", folder, str(port)]
        running.append(subprocess.Popen([peer("storescp"), "--fork", *map(str, arguments)]))

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        eventually(listens)
        return port

    yield start
    for process in running:
        process.terminate()
        process.wait()


def test_dcmtk_takes_what_we_send_over_tls(secured_peer: Callable[..., int], site: Site, tmp_path: Path) -> None:
    port = secured_peer()
    peer = Peer(ae_title="PACS", host="127.0.0.1", port=port, tls=site.caller(known=True))
    echo(peer, calling_ae_title="IRONNODE")
    outcomes = send(images(tmp_path, 3), peer, calling_ae_title="IRONNODE")
    assert [o.status for o in outcomes] == [StoreStatus.SUCCESS] * 3
    assert len(list((tmp_path / "pacs").iterdir())) == 3
    anonymous = Peer(ae_title="PACS", host="127.0.0.1", port=port, tls=site.caller())
    with pytest.raises(PeerError, match=r"asks? for a certificate of ours"):
        echo(anonymous, calling_ae_title="IRONNODE")


def test_a_peer_whose_certificate_is_not_the_right_one(
    start_listener: StartListener, site: Site, stranger: Site
) -> None:
    elsewhere = site.issue("pacs.elsewhere.example", file="elsewhere")
    listener = start_listener(tls=ListenerTls(certificate=elsewhere.certificate, key=elsewhere.key))
    with pytest.raises(PeerError, match="TLS: its certificate is not accepted: IP address mismatch"):
        associate(listener, site.caller())
    with pytest.raises(PeerError, match="TLS: its certificate is not accepted: unable to get local issuer"):
        associate(listener, CallerTls(ca=stranger.ca))
    with pytest.raises(PeerError, match="TLS: its certificate is not accepted"):
        associate(listener, CallerTls())  # the authorities of this machine
    associate(listener, CallerTls(ca=site.ca, check_host_name=False)).release()


def test_a_file_that_cannot_be_used_is_named_with_its_key(site: Site, stranger: Site, tmp_path: Path) -> None:
    own, other = site.issue(), stranger.issue()
    junk = tmp_path / "junk.pem"
    junk.write_text("not PEM")
    cases = [
        (ListenerTls(certificate=own.certificate, key=other.key), f"receive.tls.key: {other.key} is not the key of"),
        (ListenerTls(certificate=junk, key=own.key), f"receive.tls.certificate, receive.tls.key: {junk}"),
        (ListenerTls(certificate=tmp_path / "no", key=own.key), f"receive.tls.certificate: {tmp_path}/no: cannot be"),
        (ListenerTls(certificate=own.certificate, key=own.key, client_ca=junk), f"receive.tls.client_ca: {junk}: no"),
    ]
    for tls, text in cases:
        with pytest.raises(ConfigError) as caught:
            FollowedContext(tls, "receive.tls.")
        assert text in str(caught.value)
    locked = tmp_path / "locked.key"
    command = ["openssl", "rsa", "-aes128", "-passout", "pass:x", "-in", str(own.key), "-out", str(locked)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:  # an elliptic-curve key
        subprocess.run(["openssl", "ec", *command[2:]], capture_output=True, check=True)
    with pytest.raises(ConfigError, match="without a passphrase"):
        FollowedContext(ListenerTls(certificate=own.certificate, key=locked), "receive.tls.")


def test_a_destination_whose_files_are_gone_is_a_failed_delivery_that_names_them(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        peer = at(listening.getsockname()[1])
        tls = CallerTls(ca=tmp_path / "gone.pem")
        secured = Peer(ae_title=peer.ae_title, host=peer.host, port=peer.port, tls=tls, tls_key="destinations.a.tls.")
        with pytest.raises(PeerError, match=r"destinations\.a\.tls\.ca: .*gone\.pem: cannot be read"):
            echo(secured, calling_ae_title="IRONNODE")
