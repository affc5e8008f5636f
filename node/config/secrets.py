"""URLs that hold passwords: from the configuration, a file that holds nothing else, or the environment.

The environment wins over both, as it does for ``storage.root``. What was read stands in ``url`` afterwards.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECRET_URLS: Mapping[tuple[str, ...], str] = {
    ("broker",): "IRONNODE_BROKER_URL",
    ("database",): "IRONNODE_DATABASE_URL",
    ("notify", "webhook"): "IRONNODE_WEBHOOK_URL",
}
"""Section with ``url`` and ``url_file`` -> the environment variable that overrides them."""


class SecretError(ValueError):
    """A secret cannot be had; ``location`` is the key that asks for it."""

    def __init__(self, location: tuple[str, ...], text: str) -> None:
        super().__init__(text)
        self.location = location


def with_secrets(tree: dict[str, Any], folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """A copy of the configuration's plain tree in which every ``url_file`` has become ``url``.

    ``folder`` is where relative paths start.

    Raises:
        SecretError: url and url_file both stand there, or the file cannot be read or is empty.
    """
    for section, variable in SECRET_URLS.items():
        url = environment.get(variable)
        if not url and (found := _at(tree, section)) is not None and found.get("url_file") is not None:
            url = _read(found, section, folder)
        if url:
            tree = _put(tree, section, url)
    return tree


def _at(tree: Any, section: tuple[str, ...]) -> dict[str, Any] | None:
    for name in section:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else None


def _read(found: dict[str, Any], section: tuple[str, ...], folder: Path) -> str:
    key = (*section, "url_file")
    if found.get("url") is not None:
        raise SecretError(key, "url stands there too; give one of them")
    if "://" in str(found["url_file"]):
        raise SecretError(key, "that is a URL, which belongs under url")  # and is not repeated: it may hold a password
    path = folder / str(found["url_file"])
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(key, f"{path} cannot be read: {getattr(error, 'strerror', None) or 'not text'}") from error
    if not text:
        raise SecretError(key, f"{path} is empty")
    return text


def _put(tree: dict[str, Any], section: tuple[str, ...], url: str) -> dict[str, Any]:
    if not section:
        return {**{key: value for key, value in tree.items() if key != "url_file"}, "url": url}
    inner = tree.get(section[0])
    return {**tree, section[0]: _put(inner if isinstance(inner, dict) else {}, section[1:], url)}
