"""What a reader sees of an HTML or PDF report, as text."""

import html
import re
import zlib


def text_of_html(page: str) -> str:
    """Without tags."""
    return html.unescape(re.sub(r"<[^>]*>", " ", page))


def text_of_pdf(file: bytes) -> str:
    """The strings that the file draws, in the order of drawing."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", file, re.DOTALL)
    drawn = []
    for stream in streams:
        try:
            content = zlib.decompress(stream)
        except zlib.error:
            continue
        for shown in re.findall(rb"BT(.*?)ET", content, re.DOTALL):
            drawn.append(b"".join(re.findall(rb"\(((?:\\.|[^\\)])*)\)", shown)).decode("latin-1"))
    return "".join(drawn).replace("\\", "").replace("\0", "")  # two bytes a letter
