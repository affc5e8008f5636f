"""The kinds of result objects as destinations negotiate them: role, SOP class, and what stands in for what."""

RESULT_CLASSES: dict[str, tuple[str, str]] = {
    "map": ("1.2.840.10008.5.1.4.1.1.4", "MR Image"),
    "page": ("1.2.840.10008.5.1.4.1.1.7", "Secondary Capture Image"),
    "sr": ("1.2.840.10008.5.1.4.1.1.88.34", "Comprehensive 3D SR"),
    "sr.comprehensive": ("1.2.840.10008.5.1.4.1.1.88.33", "Comprehensive SR"),
    "sr.enhanced": ("1.2.840.10008.5.1.4.1.1.88.22", "Enhanced SR"),
    "seg": ("1.2.840.10008.5.1.4.1.1.66.4", "Segmentation"),
    "pm": ("1.2.840.10008.5.1.4.1.1.30", "Parametric Map"),
    "pdf": ("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF"),
    "pr": ("1.2.840.10008.5.1.4.1.1.11.1", "Grayscale Softcopy Presentation State"),
    "ko": ("1.2.840.10008.5.1.4.1.1.88.59", "Key Object Selection"),
    "rejection": ("1.2.840.10008.5.1.4.1.1.88.59", "Key Object Selection"),
}
"""SOP class UID and name (PS3.4 B.5) by role; the part after a dot counts for reports only."""

ALTERNATIVES: dict[str, tuple[str, ...]] = {"sr": ("sr.comprehensive", "sr.enhanced"), "page": ("pdf",)}
"""What takes the place of an object whose SOP class a destination does not take, best first."""
