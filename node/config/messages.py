"""Systems that get the numbers as messages instead of DICOM objects."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from node.config.parts import Seconds, Section
from node.config.tls import CallerTls

_Words = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]{0,20}$")]


class _Receiver(Section):
    """What every receiver of messages has."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$", description="short name, used in status and logs")
    tls: CallerTls | None = Field(
        None, description="null = HL7 without TLS; https of a FHIR server with this machine's authorities"
    )
    timeout_s: Seconds = Field(30, description="connect and answer timeout")
    retry_base_s: Seconds = Field(5, description="wait after the first failure; doubles with jitter")
    retry_max_s: Seconds = Field(900, description="longest wait between tries; tries never end")

    @property
    def tls_key(self) -> str:
        """What stands before the names of the keys of ``tls`` in errors."""
        return f"messages.{self.name}.tls."

    def wants(self, role: str) -> bool:
        """A message says what the structured report says, and goes out once for each."""
        return role == "sr"


class Hl7Receiver(_Receiver):
    """A system that takes HL7 v2 ORU^R01 over MLLP."""

    kind: Literal["hl7"] = Field(description="HL7 v2.5.1 ORU^R01 over MLLP")
    host: str = Field(description="address or name of the receiver")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(description="its MLLP port")
    sending_application: _Words = Field("IRONNODE", description="MSH-3")
    sending_facility: _Words = Field("", description="MSH-4")
    receiving_application: _Words = Field("", description="MSH-5")
    receiving_facility: _Words = Field("", description="MSH-6")

    @property
    def address(self) -> str:
        """Where it is, for people."""
        return f"HL7 at {self.host}:{self.port}"


class FhirReceiver(_Receiver):
    """A FHIR server (R4, R4B or R5) that takes a DiagnosticReport with Observations as a transaction."""

    kind: Literal["fhir"] = Field(description="FHIR DiagnosticReport with Observations")
    release: Literal["r4", "r5"] = Field("r4", description="FHIR release of the resources; r4 is right for R4B too")
    url: str = Field(pattern=r"^https?://[^\s?#@]+$", description="base URL of the server")
    token_file: Path | None = Field(None, description="file with a bearer token and nothing else; null = none")
    patient_system: str | None = Field(None, description="identifier system (URI) of Patient IDs; null = not stated")

    @property
    def address(self) -> str:
        """Where it is, for people."""
        return f"FHIR at {self.url}"


MessageReceiver = Annotated[Hl7Receiver | FhirReceiver, Field(discriminator="kind")]
