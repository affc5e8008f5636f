"""Command sets, against pynetdicom's own encoder and decoder."""

from io import BytesIO

import pytest
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import P_DATA_TF

from node.dimse import command
from node.dimse.command import CommandSet, ProtocolError
from node.dimse.status import Status, describe, is_stored

MR = "1.2.840.10008.5.1.4.1.1.4"
UID = "1.2.826.0.1.3680043.8.498.7"


def request() -> C_STORE:
    primitive = C_STORE()
    primitive.MessageID = 7
    primitive.AffectedSOPClassUID = MR
    primitive.AffectedSOPInstanceUID = UID
    primitive.Priority = 0
    primitive.DataSet = BytesIO(b"\x00\x00")
    return primitive


def library_bytes(message: object, primitive: object) -> bytes:
    message.primitive_to_message(primitive)
    encoded = encode(message.command_set, True, True)
    assert encoded is not None
    return encoded


def test_a_store_request_reads_as_the_library_wrote_it() -> None:
    found = CommandSet.decode(library_bytes(C_STORE_RQ(), request()))
    assert found.number(command.COMMAND_FIELD) == command.C_STORE_RQ
    assert found.number(command.MESSAGE_ID) == 7
    assert found.text(command.AFFECTED_SOP_CLASS_UID) == MR
    assert found.text(command.AFFECTED_SOP_INSTANCE_UID) == UID
    assert found.has_data_set


def test_a_store_request_reads_back_in_the_library() -> None:
    decoded = decode(BytesIO(command.encode_store_request(7, MR, UID)), True, True)
    assert (decoded.MessageID, decoded.AffectedSOPClassUID, decoded.AffectedSOPInstanceUID) == (7, MR, UID)
    assert decoded.CommandField == 0x0001
    assert decoded.CommandDataSetType != 0x0101
    assert decoded.CommandGroupLength == len(command.encode_store_request(7, MR, UID)) - 12


def test_a_store_response_is_what_the_library_would_send() -> None:
    asked = CommandSet.decode(library_bytes(C_STORE_RQ(), request()))
    answer = C_STORE()
    answer.MessageIDBeingRespondedTo = 7
    answer.AffectedSOPClassUID = MR
    answer.AffectedSOPInstanceUID = UID
    answer.Status = 0xA700
    answer.ErrorComment = "no space left"
    ours = decode(BytesIO(command.encode_store_response(asked, Status.OUT_OF_RESOURCES, "no space left")), True, True)
    theirs = decode(BytesIO(library_bytes(C_STORE_RSP(), answer)), True, True)
    assert ours == theirs


def test_an_echo_request_is_what_the_library_would_send() -> None:
    primitive = C_ECHO()
    primitive.MessageID = 3
    primitive.AffectedSOPClassUID = "1.2.840.10008.1.1"
    assert command.encode_echo_request(3, "1.2.840.10008.1.1") == library_bytes(C_ECHO_RQ(), primitive)


def test_a_command_pdu_reads_back_in_the_library() -> None:
    pdu = P_DATA_TF()
    pdu.decode(command.command_pdu(5, b"ab"))
    assert [list(item) for item in pdu.to_primitive().presentation_data_value_list] == [[5, b"\x03ab"]]


def test_long_or_foreign_comments_fit_the_element() -> None:
    asked = CommandSet.decode(library_bytes(C_STORE_RQ(), request()))
    text = CommandSet.decode(command.encode_store_response(asked, 0xC000, "\\ü" * 50)).text(command.ERROR_COMMENT)
    assert len(text) == 64
    assert "\\" not in text


@pytest.mark.parametrize("cut", [1, 8, 29, 35, 37, 43])
def test_a_command_that_is_cut_off_is_an_error(cut: int) -> None:
    whole = command.encode_store_request(7, MR, UID)
    with pytest.raises(ProtocolError):
        CommandSet.decode(whole[:-cut])


def test_other_groups_do_not_belong_in_a_command() -> None:
    with pytest.raises(ProtocolError):
        CommandSet.decode(b"\x08\x00\x18\x00\x02\x00\x00\x001\x00")


def test_statuses_in_words() -> None:
    assert describe(0xA700) == "status A700 (out of resources)"
    assert describe(0xA7FF) == "status A7FF (out of resources)"
    assert describe(0xC123) == "status C123 (cannot understand)"
    assert is_stored(0xB000)
    assert is_stored(0x0107)
    assert not is_stored(0x0111)
