"""The offered contexts, against the registry of DICOM UIDs."""

from pydicom.uid import UID_dictionary

from node.dimse.contexts import (
    COMMITMENT_SOP_CLASS,
    COMMITMENT_SOP_INSTANCE,
    PRIVATE_SOP_CLASSES,
    STORED_SOP_CLASSES,
    STORED_TRANSFER_SYNTAXES,
    supported_contexts,
)


def test_names_are_those_of_the_standard() -> None:
    for uid, name in STORED_SOP_CLASSES.items():
        if uid in PRIVATE_SOP_CLASSES:
            assert uid not in UID_dictionary
            continue
        assert (UID_dictionary[uid][0], UID_dictionary[uid][1]) == (name, "SOP Class")
    for uid, name in STORED_TRANSFER_SYNTAXES.items():
        assert (UID_dictionary[uid][0], UID_dictionary[uid][1]) == (name, "Transfer Syntax")


def test_every_class_is_offered_in_every_syntax_and_echo_is_there() -> None:
    offered = {str(c.abstract_syntax): [str(t) for t in c.transfer_syntax] for c in supported_contexts()}
    assert set(offered) == {*STORED_SOP_CLASSES, "1.2.840.10008.1.1"}
    assert all(offered[uid] == list(STORED_TRANSFER_SYNTAXES) for uid in STORED_SOP_CLASSES)


def test_reports_of_storage_commitment_are_taken_where_somebody_keeps_them() -> None:
    (context,) = [c for c in supported_contexts(commitment=True) if c.abstract_syntax == COMMITMENT_SOP_CLASS]
    assert UID_dictionary[COMMITMENT_SOP_CLASS][:2] == ("Storage Commitment Push Model SOP Class", "SOP Class")
    assert UID_dictionary[COMMITMENT_SOP_INSTANCE][0] == "Storage Commitment Push Model SOP Instance"
    assert (context.scu_role, context.scp_role) == (True, True)
