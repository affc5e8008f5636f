"""The page as picture and PDF: fixed size, equal bytes."""

import hashlib
import io
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from PIL import Image

from node.report.page import PAGE_HEIGHT_PX, PAGE_WIDTH_PX, RenderedPage, render_page
from tests.node.printed_text import text_of_pdf
from tests.node.report.report_cases import measured


@cache
def typical_page() -> RenderedPage:
    case = measured(67.73)
    return render_page(case.result, case.pictures)


def test_three_forms_of_one_figure() -> None:
    page = typical_page()
    assert page.rgb.shape == (PAGE_HEIGHT_PX, PAGE_WIDTH_PX, 3)
    assert page.rgb.dtype == np.uint8
    assert page.png.startswith(b"\x89PNG")
    assert b"Software" not in page.png
    assert b"tIME" not in page.png
    assert page.pdf.startswith(b"%PDF")
    assert b"CreationDate" not in page.pdf
    assert page.pdf.count(b"/Subtype /Image") <= 4  # pictures and colour bar; the text is text
    assert b"DejaVuSans" in page.pdf


def test_png_holds_the_same_pixels() -> None:
    page = typical_page()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(page.png)).convert("RGB")), page.rgb)


def test_the_pdf_is_read_from_top_to_bottom() -> None:
    """Copied or read aloud, it begins with title and patient and ends with the footer."""
    text = " ".join(text_of_pdf(typical_page().pdf).split())
    parts = ["Liver iron concentration by MRI", "Patient", "Olivieri", "First echo", "LIC map", "Calibration",
             "Follow-up: ", "Quality: ", "ironnode "]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


_DIGEST = """
import hashlib
from node.report.page import render_page
from tests.node.report.report_cases import measured
case = measured(67.73)
page = render_page(case.result, case.pictures)
print(hashlib.sha256(page.rgb.tobytes() + page.png + page.pdf).hexdigest())
"""


def test_another_process_gives_the_same_bytes(pytestconfig: pytest.Config) -> None:
    page = typical_page()
    other = subprocess.run(
        [sys.executable, "-c", _DIGEST],
        check=True,
        capture_output=True,
        text=True,
        cwd=pytestconfig.rootpath,
        env={"PYTHONPATH": str(pytestconfig.rootpath), "PYTHONHASHSEED": "2", "HOME": "/nonexistent"},
    ).stdout.strip()
    assert other == hashlib.sha256(page.rgb.tobytes() + page.png + page.pdf).hexdigest()
