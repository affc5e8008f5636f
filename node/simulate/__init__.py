"""Phantom acquisitions written as DICOM in the dialects of the vendors."""
