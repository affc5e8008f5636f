"""Certificates made for a test: an authority of the site, what it issues, and files of them."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme

from node.config import CallerTls, ListenerTls


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Site:
    """One authority, with its certificate in ``ca``."""

    def __init__(self, folder: Path, name: str = "site") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA(organization_name=name)
        self.ca = folder / f"{name}-ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))

    def issue(self, *names: str, file: str = "node", ends: datetime | None = None) -> Pair:
        """A certificate for these host names; files of the same name are replaced."""
        issued = self._authority.issue_cert(*(names or ("127.0.0.1", "localhost")), not_after=ends)
        pair = Pair(certificate=self._folder / f"{file}.pem", key=self._folder / f"{file}.key")
        issued.private_key_pem.write_to_path(str(pair.key))
        pair.key.chmod(0o600)
        pair.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return pair

    def listener(self, *, mutual: bool = False) -> ListenerTls:
        """A listener with a certificate for this machine."""
        pair = self.issue()
        return ListenerTls(certificate=pair.certificate, key=pair.key, client_ca=self.ca if mutual else None)

    def caller(self, *, known: bool = False) -> CallerTls:
        """A caller that believes the authority, and shows a certificate when ``known``."""
        pair = self.issue("caller.example", file="caller") if known else None
        return CallerTls(ca=self.ca, certificate=pair and pair.certificate, key=pair and pair.key)
