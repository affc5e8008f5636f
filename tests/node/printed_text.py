"""What a reader sees of an HTML or PDF report, as text."""

import re
import zlib
from html.parser import HTMLParser


class _Seen(HTMLParser):
    """The text between the tags, style sheets apart."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.texts = "", list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open = tag

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open != "style":
            self.texts.append(data)


def text_of_html(page: str) -> str:
    """Without tags and style."""
    seen = _Seen()
    seen.feed(page)
    seen.close()
    return " ".join(seen.texts)


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
