"""The sections that name certificates: who we are, and whom we believe."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from node.config.parts import Section


class ListenerTls(Section):
    """TLS where others call us (PS3.15 B.12). The files are read again when they change."""

    certificate: Path = Field(description="PEM file with our certificate and its chain")
    key: Path = Field(description="PEM file with its key, without a passphrase; readable by the service user only")
    client_ca: Path | None = Field(
        None,
        description="PEM file with the authorities of callers; given: a caller without their certificate is cut off",
    )


class CallerTls(Section):
    """TLS where we call others (PS3.15 B.12). The files are read for each connection."""

    ca: Path | None = Field(None, description="PEM file with the authorities of the peer; null = those of this machine")
    certificate: Path | None = Field(None, description="PEM file with our certificate, where the peer asks for one")
    key: Path | None = Field(None, description="PEM file with its key, without a passphrase")
    check_host_name: bool = Field(
        True, description="the peer's certificate must name its host; false only with a ca of the site's own"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        if not self.check_host_name and self.ca is None:
            raise ValueError("check_host_name: false needs a ca, or any certificate that can be bought would do")
        return self
