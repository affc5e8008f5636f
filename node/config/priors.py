"""Where a patient's earlier results are looked for."""

from typing import Annotated

from pydantic import Field

from node.config.parts import AeTitle, Seconds, Section
from node.config.tls import CallerTls


class MoveToConfig(Section):
    """Where an archive sends what we ask for by C-MOVE: a listener of the worker, open while it waits; with TLS where
    ``receive.tls`` is given."""

    ae_title: AeTitle = Field(description="our AE title as a destination of C-MOVE, as the archive knows it")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(description="its port; not that of receive")


class ArchiveConfig(Section):
    """An archive that answers C-FIND and C-GET or C-MOVE (Study Root)."""

    ae_title: AeTitle = Field(description="called AE title of the archive")
    host: str = Field(description="its address or name")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(description="its DICOM port")
    calling_ae_title: AeTitle | None = Field(None, description="AE title we call ourselves; null = receive.ae_title")
    tls: CallerTls | None = Field(None, description="null = plain DICOM")
    move_to: MoveToConfig | None = Field(None, description="for archives without C-GET; null = C-MOVE is not used")

    @property
    def tls_key(self) -> str:
        """What stands before the names of the keys of ``tls`` in errors."""
        return "priors.archive.tls."


class PriorsConfig(Section):
    """Earlier measurements of the same patient, to compare with."""

    archive: ArchiveConfig | None = Field(None, description="where they are; null = nothing is compared")
    timeout_s: Seconds = Field(10, le=120, description="a report waits no longer for the archive")
    years: int = Field(10, ge=1, le=100, description="how far back to look")
    max_reports: int = Field(20, ge=1, le=100, description="earlier reports to compare with, the latest first")
