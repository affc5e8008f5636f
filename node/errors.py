"""The node's errors. Each has a stable code, says whether trying again can help, and hints at what to do.

IronnodeError
+-- ConfigError            the configuration cannot be used
+-- InputError             a file or data set cannot be read or used
|   +-- DeclinedError      a normal outcome: the data are not an acquisition that ironnode measures
|   +-- UnreadableError    an image whose header is known, but not its pixels
+-- SettingsError          the settings that a job was made under cannot be had
+-- StorageError           the disk refused
|   +-- DiskFullError
|   +-- DutyLostError      another process plays this role now
+-- PeerError              another system did not answer, or refused
+-- BrokerError            the queue's broker is away
+-- LeaseLostError         another worker owns the job now
+-- TimeLimitError         a run took longer than queue.time_limit_s
"""

import traceback
from pathlib import Path

FAULT = "a fault of the software, report it"
"""How the text of an error begins that is nobody's but ours."""


def fault_text(error: BaseException) -> str:
    """Where a fault of the software is; its own words may quote a header, and with it a patient."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{FAULT}: {type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


class IronnodeError(Exception):
    """Something went wrong that an operator should read about."""

    code = "internal"
    retryable = False
    hint = ""


class ConfigError(IronnodeError):
    """The configuration cannot be used; the text names the key (and the line, where known)."""

    code = "config"
    hint = "Correct the named key; `ironnode config schema` prints every key."


class LedgerVersionError(ConfigError):
    """The ledger is one of another version of ironnode; the text says what to do."""

    hint = "docs/upgrade.md tells how to go up and how to go back."


class RestoreCutOffError(ConfigError):
    """The storage root holds a restore that was cut off, or still runs."""

    hint = "Empty the folder and run `ironnode restore FILE` again, unless it still runs."


class InputError(IronnodeError):
    """A file or data set cannot be read or used; the text names the file and the tag."""

    code = "input"


class DeclinedError(InputError):
    """Not an acquisition that ironnode measures; ``code`` is the coded reason of the record."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class UnreadableError(InputError):
    """The pixels of an image cannot be had; ``code`` and ``text`` are the coded reason of the record.

    ``text`` names the image by its UID and never the file, whose name may identify a patient; the error itself names
    the file and says what the decoder said.
    """

    def __init__(self, code: str, text: str, *, file_name: str, detail: str = "") -> None:
        super().__init__(f"{file_name}: {text}{' ' if detail else ''}{detail}")
        self.code = code
        self.text = text


class SettingsError(IronnodeError):
    """The settings that a job was made under are not kept here, or are no longer what they were.

    Another worker may have what it takes, so the job waits like after any failed run.
    """

    code = "settings"
    retryable = True
    hint = "Once the job is parked, `ironnode retry JOB` has it measured with the settings of today."


class StorageError(IronnodeError):
    """The disk refused a read or write."""

    code = "storage"
    retryable = True
    hint = "Check that the storage folder exists, is writable and has space."


class DutyLostError(StorageError):
    """Another process plays this role now; nothing was written."""

    code = "duty_lost"


class DiskFullError(StorageError):
    """No space is left where the spool or outbox lies."""

    code = "disk_full"
    hint = "Free space on the storage volume; senders retry by themselves."


class PeerError(IronnodeError):
    """Another DICOM system did not answer or refused."""

    code = "peer"
    retryable = True
    hint = "Check the peer's AE title, host, port and that it knows this node; `ironnode check` tries it."


class BrokerError(IronnodeError):
    """The queue's broker cannot be reached; jobs stay in the ledger and are rung again."""

    code = "broker"
    retryable = True
    hint = "Check broker.url, or the embedded server's log under the storage folder."


class LeaseLostError(IronnodeError):
    """The job's lease ran out and another worker took it; this run's outcome is dropped."""

    code = "lease_lost"


class TimeLimitError(IronnodeError):
    """A run took too long and was ended, so that the worker is free for other jobs."""

    code = "time_limit"
    retryable = True
    hint = "Raise queue.time_limit_s (and queue.visibility_timeout_s above it), or give the worker more cores."
