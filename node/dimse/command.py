"""DIMSE command sets (PS3.7 6.3, 9.3, annex E): always implicit VR little endian, group 0000, a few hundred bytes.

Encoded and decoded by hand because they frame every instance; a general data set costs more than storing one.
"""

import struct
from collections.abc import Mapping

C_STORE_RQ = 0x0001
C_STORE_RSP = 0x8001
C_FIND_RQ = 0x0020
C_ECHO_RQ = 0x0030
N_EVENT_REPORT_RQ = 0x0100
N_EVENT_REPORT_RSP = 0x8100
N_ACTION_RQ = 0x0130
RESPONSE_BIT = 0x8000  # of a command field (PS3.7 E.1)
_NO_DATA_SET = 0x0101

AFFECTED_SOP_CLASS_UID = 0x0002
REQUESTED_SOP_CLASS_UID = 0x0003
COMMAND_FIELD = 0x0100
MESSAGE_ID = 0x0110
MESSAGE_ID_RESPONDED_TO = 0x0120
PRIORITY = 0x0700
DATA_SET_TYPE = 0x0800
STATUS = 0x0900
ERROR_COMMENT = 0x0902
AFFECTED_SOP_INSTANCE_UID = 0x1000
REQUESTED_SOP_INSTANCE_UID = 0x1001
EVENT_TYPE_ID = 0x1002
ACTION_TYPE_ID = 0x1008

LARGEST_COMMAND_BYTES = 16384
_LONGEST_COMMENT = 64  # LO
_LONGEST_ECHOED_UID = 64

P_DATA_TF = 0x04
_PDV_COMMAND = 0x01
_PDV_LAST = 0x02


class ProtocolError(Exception):
    """The peer broke the protocol in a way that has no answer; the association is aborted."""


class CommandSet:
    """A decoded command set: element number to value, still encoded."""

    def __init__(self, values: Mapping[int, bytes]) -> None:
        self._values = values

    @classmethod
    def decode(cls, encoded: bytes) -> "CommandSet":
        """Decode a whole command set.

        Raises:
            ProtocolError: it is cut off or holds elements outside group 0000.
        """
        values: dict[int, bytes] = {}
        position = 0
        while position < len(encoded):
            if position + 8 > len(encoded):
                raise ProtocolError("a command set is cut off")
            group, element, length = struct.unpack_from("<HHL", encoded, position)
            position += 8
            if group != 0 or position + length > len(encoded):
                raise ProtocolError("a command set holds something else, or is cut off")
            values[element] = encoded[position : position + length]
            position += length
        return cls(values)

    def number(self, element: int) -> int:
        """The value of a US element; ProtocolError when it is absent or not two bytes long."""
        value = self._values.get(element, b"")
        if len(value) != 2:
            raise ProtocolError(f"(0000,{element:04X}) is absent from a command or not a number")
        return int.from_bytes(value, "little")

    def raw(self, element: int) -> bytes:
        """The value as encoded; empty when absent."""
        return self._values.get(element, b"")

    def text(self, element: int) -> str:
        """The value as text without padding; characters outside ASCII are replaced."""
        return self.raw(element).decode("ascii", "replace").strip("\x00 ")

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows (PS3.7 E.1)."""
        return self.number(DATA_SET_TYPE) != _NO_DATA_SET


def encode_command(elements: Mapping[int, bytes]) -> bytes:
    """Encode a command set, with its group length; the elements' values are padded to even length."""
    body = b"".join(_element(number, elements[number]) for number in sorted(elements))
    return _element(0x0000, struct.pack("<L", len(body))) + body


def us(value: int) -> bytes:
    """A US value."""
    return struct.pack("<H", value)


def uid(value: str) -> bytes:
    """A UI value, padded."""
    encoded = value.encode("ascii")
    return encoded + b"\x00" if len(encoded) % 2 else encoded


def encode_store_response(request: CommandSet, status: int, comment: str = "") -> bytes:
    """The command set of a C-STORE-RSP (PS3.7 9.3.1.2); the comment goes to (0000,0902)."""
    elements = {
        COMMAND_FIELD: us(C_STORE_RSP),
        MESSAGE_ID_RESPONDED_TO: us(request.number(MESSAGE_ID)),
        DATA_SET_TYPE: us(_NO_DATA_SET),
        STATUS: us(status),
    }
    for element in (AFFECTED_SOP_CLASS_UID, AFFECTED_SOP_INSTANCE_UID):
        value = request.raw(element)
        if 0 < len(value) <= _LONGEST_ECHOED_UID:
            elements[element] = value
    if comment:
        text = comment.encode("ascii", "replace").replace(b"\\", b"/")[:_LONGEST_COMMENT]
        elements[ERROR_COMMENT] = text + b" " * (len(text) % 2)
    return encode_command(elements)


def encode_store_request(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """The command set of a C-STORE-RQ of medium priority (PS3.7 9.3.1.1)."""
    return encode_command(
        {
            AFFECTED_SOP_CLASS_UID: uid(sop_class_uid),
            COMMAND_FIELD: us(C_STORE_RQ),
            MESSAGE_ID: us(message_id),
            PRIORITY: us(0),
            DATA_SET_TYPE: us(0x0001),
            AFFECTED_SOP_INSTANCE_UID: uid(sop_instance_uid),
        }
    )


def encode_find_request(message_id: int, sop_class_uid: str) -> bytes:
    """The command set of a C-FIND-RQ of medium priority (PS3.7 9.3.2.1)."""
    return encode_command(
        {
            AFFECTED_SOP_CLASS_UID: uid(sop_class_uid),
            COMMAND_FIELD: us(C_FIND_RQ),
            MESSAGE_ID: us(message_id),
            PRIORITY: us(0),
            DATA_SET_TYPE: us(0x0001),
        }
    )


def encode_echo_request(message_id: int, sop_class_uid: str) -> bytes:
    """The command set of a C-ECHO-RQ (PS3.7 9.3.5.1)."""
    return encode_command(
        {
            AFFECTED_SOP_CLASS_UID: uid(sop_class_uid),
            COMMAND_FIELD: us(C_ECHO_RQ),
            MESSAGE_ID: us(message_id),
            DATA_SET_TYPE: us(_NO_DATA_SET),
        }
    )


def encode_action_request(message_id: int, sop_class_uid: str, sop_instance_uid: str, action_type: int) -> bytes:
    """The command set of an N-ACTION-RQ with action information (PS3.7 10.3.4.1)."""
    return encode_command(
        {
            REQUESTED_SOP_CLASS_UID: uid(sop_class_uid),
            COMMAND_FIELD: us(N_ACTION_RQ),
            MESSAGE_ID: us(message_id),
            DATA_SET_TYPE: us(0x0001),
            REQUESTED_SOP_INSTANCE_UID: uid(sop_instance_uid),
            ACTION_TYPE_ID: us(action_type),
        }
    )


def encode_event_report_request(message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type: int) -> bytes:
    """The command set of an N-EVENT-REPORT-RQ with event information (PS3.7 10.3.1.1)."""
    return encode_command(
        {
            AFFECTED_SOP_CLASS_UID: uid(sop_class_uid),
            COMMAND_FIELD: us(N_EVENT_REPORT_RQ),
            MESSAGE_ID: us(message_id),
            DATA_SET_TYPE: us(0x0001),
            AFFECTED_SOP_INSTANCE_UID: uid(sop_instance_uid),
            EVENT_TYPE_ID: us(event_type),
        }
    )


def encode_event_report_response(request: CommandSet, status: int) -> bytes:
    """The command set of an N-EVENT-REPORT-RSP without event reply (PS3.7 10.3.1.2)."""
    elements = {
        COMMAND_FIELD: us(N_EVENT_REPORT_RSP),
        MESSAGE_ID_RESPONDED_TO: us(request.number(MESSAGE_ID)),
        DATA_SET_TYPE: us(_NO_DATA_SET),
        STATUS: us(status),
    }
    for element in (AFFECTED_SOP_CLASS_UID, AFFECTED_SOP_INSTANCE_UID, EVENT_TYPE_ID):
        value = request.raw(element)
        if 0 < len(value) <= _LONGEST_ECHOED_UID:
            elements[element] = value
    return encode_command(elements)


def data_pdu_head(context_id: int, size: int, *, command: bool, last: bool) -> bytes:
    """Head of a P-DATA-TF PDU that carries one presentation data value of ``size`` bytes (PS3.8 9.3.5, annex E)."""
    control = (_PDV_COMMAND if command else 0) | (_PDV_LAST if last else 0)
    return struct.pack(">BBLLBB", P_DATA_TF, 0, size + 6, size + 2, context_id, control)


def command_pdu(context_id: int, encoded: bytes) -> bytes:
    """A P-DATA-TF PDU with one whole command."""
    return data_pdu_head(context_id, len(encoded), command=True, last=True) + encoded


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0x0000, number, len(value)) + value
