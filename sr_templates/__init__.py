"""DICOM result objects made from plain result types; the only user of highdicom."""
