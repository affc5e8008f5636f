"""TLS as DICOM asks for it: PS3.15 B.12 (BCP 195: RFC 8996, RFC 9325), with files that may change while the node runs.

TLS 1.3 or 1.2 with ephemeral elliptic-curve key exchange and AES-GCM; nothing older, no renegotiation. Contexts are
made of the files a configuration names; every error names the key and the file.
"""

import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from node.config import CallerTls, Config, ListenerTls
from node.errors import ConfigError
from node.ops.events import Event, emit

# What stands before the names of the keys of these sections.
RECEIVE_KEY, WEB_KEY, SYSLOG_KEY = "receive.tls.", "web.tls_", "audit.syslog.tls."

# RFC 9325 4.2 for TLS 1.2; those of TLS 1.3 are all good and chosen by the library.
_CIPHERS = "ECDHE+AESGCM"
_TLS_RECORDS = (0x15, 0x16)  # alert, handshake (RFC 8446 5.1): first byte of what a TLS peer says
_TLS_MAJOR_VERSION = 3

_WORDS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "HTTP_REQUEST": "it speaks HTTP without TLS",
    "UNSUPPORTED_PROTOCOL": "it offers no TLS version from 1.2 on",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it takes no TLS version from 1.2 on",
    "NO_SHARED_CIPHER": "it offers no cipher suite of BCP 195",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it asks for a certificate of ours",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know the authority of our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refuses the handshake: no common cipher suite, or it asks for a certificate",
}


def looks_like_tls(head: bytes | bytearray) -> bool:
    """Whether the first two bytes of what a peer says begin a TLS record; no DICOM PDU begins so (PS3.8 9.3)."""
    return len(head) >= 2 and head[0] in _TLS_RECORDS and head[1] == _TLS_MAJOR_VERSION


def tls_fault(error: OSError) -> str:
    """Why a peer and we did not come together over TLS, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no TLS handshake in time"
    if isinstance(error, ssl.SSLEOFError | ConnectionError):
        return "it closed the connection during the TLS handshake; does it speak TLS on this port?"
    if isinstance(error, ssl.SSLError) and error.reason:
        return _WORDS.get(error.reason, error.reason.lower().replace("_", " "))
    return str(error.strerror or error)


def listener_context(tls: ListenerTls, key: str) -> ssl.SSLContext:
    """The server side's context; ``key`` is what stands before the names of the section's keys, e.g. ``receive.tls.``.

    Raises:
        ConfigError: a file cannot be used.
    """
    context = _bcp195(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    _load_own(context, tls.certificate, tls.key, key)
    if tls.client_ca is not None:
        _load_authorities(context, tls.client_ca, f"{key}client_ca")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def caller_context(tls: CallerTls, key: str) -> ssl.SSLContext:
    """The client side's context; ``key`` as for :func:`listener_context`.

    Raises:
        ConfigError: a file cannot be used.
    """
    context = _bcp195(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = tls.check_host_name
    if tls.ca is None:
        context.load_default_certs()
    else:
        _load_authorities(context, tls.ca, f"{key}ca")
    if tls.certificate is not None and tls.key is not None:
        _load_own(context, tls.certificate, tls.key, key)
    return context


def tls_sections(config: Config) -> Iterator[tuple[str, ListenerTls | CallerTls]]:
    """Every section of a configuration that names certificates, with what stands before the names of its keys."""
    if config.receive.tls is not None:
        yield RECEIVE_KEY, config.receive.tls
    if config.web.tls is not None:
        yield WEB_KEY, config.web.tls
    for receiver in config.receivers:
        if receiver.tls is not None:
            yield receiver.tls_key, receiver.tls
    archive = config.priors.archive
    if archive is not None and archive.tls is not None:
        yield archive.tls_key, archive.tls
    if config.audit.syslog is not None:
        yield SYSLOG_KEY, config.audit.syslog.tls


def context_of(tls: ListenerTls | CallerTls, key: str) -> ssl.SSLContext:
    """The context of either kind of section.

    Raises:
        ConfigError: a file cannot be used.
    """
    return listener_context(tls, key) if isinstance(tls, ListenerTls) else caller_context(tls, key)


def expires_at(certificate: Path) -> datetime:
    """When the first certificate of a PEM file ends.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    return x509.load_pem_x509_certificates(certificate.read_bytes())[0].not_valid_after_utc.astimezone(UTC)


class FollowedContext:
    """The server side's context of files that may be replaced: new connections get the new certificate.

    Files that cannot be used (a certificate whose key has not been written yet) change nothing; that is logged once.
    """

    def __init__(self, tls: ListenerTls, key: str) -> None:
        """Read the files.

        Raises:
            ConfigError: a file cannot be used.
        """
        self._tls = tls
        self._key = key
        self._lock = threading.Lock()
        self._seen = self._signature()
        self._context = listener_context(tls, key)

    def current(self) -> ssl.SSLContext:
        """The context for the next connection."""
        with self._lock:
            found = self._signature()
            if found != self._seen:
                self._seen = found
                self._read_again()
            return self._context

    def following(self) -> ssl.SSLContext:
        """A context that hands each handshake to :meth:`current`, for servers that take one context for good."""
        context = listener_context(self._tls, self._key)

        def follow(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self.current()

        context.sni_callback = follow
        return context

    def _read_again(self) -> None:
        try:
            self._context = listener_context(self._tls, self._key)
        except ConfigError as error:
            emit(Event.CERTIFICATE_UNUSABLE, error=str(error))
        else:
            emit(Event.CERTIFICATE_RENEWED, certificate=f"{self._key}certificate")

    def _signature(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in _files(self._tls))


def _files(tls: ListenerTls) -> Iterator[Path]:
    yield from (path for path in (tls.certificate, tls.key, tls.client_ca) if path is not None)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _bcp195(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, private_key: Path, key: str) -> None:
    for name, path in (("certificate", certificate), ("key", private_key)):
        _check_readable(path, f"{key}{name}")
    try:
        context.load_cert_chain(certificate, private_key, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            text = f"{key}key: {private_key} is not the key of {certificate} ({key}certificate)"
        else:
            reason = (error.reason or "not PEM").lower().replace("_", " ")
            text = f"{key}certificate, {key}key: {certificate}, {private_key}: cannot be used: {reason}"
        raise ConfigError(f"{text}; wanted: a certificate chain and its key in PEM, without a passphrase") from error


def _load_authorities(context: ssl.SSLContext, path: Path, key: str) -> None:
    _check_readable(path, key)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        reason = (error.reason or "not PEM").lower().replace("_", " ")
        raise ConfigError(f"{key}: {path}: no certificates of authorities in PEM: {reason}") from error


def _check_readable(path: Path, key: str) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise ConfigError(f"{key}: {path}: cannot be read: {error.strerror or error}") from error
