"""What of the configuration decides a result's content: the part of it that a job is made under."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from node.config.sections import Config

METHOD_SECTIONS = ("calibration", "grading", "follow_up", "uncertainty", "segmenter", "report")
_DIGEST_DIGITS = 32


def method_settings(config: "Config") -> str:
    """Every setting that can change a result's content, as canonical JSON. A file stands in it by the digest (hex) of
    its content: where it lies does not count.

    Raises:
        OSError: a file that the configuration names cannot be read.
    """
    parts: dict[str, Any] = {name: getattr(config, name).model_dump(mode="json") for name in METHOD_SECTIONS}
    del parts["follow_up"]["policy_file"]
    model = config.segmenter.model
    parts["segmenter"]["model"] = _digest_of(None if model is None else model / "model.json")
    parts["report"]["texts_file"] = _digest_of(config.report.texts_file)
    parts["policy"] = _digest_of(config.follow_up.policy_file)
    return json.dumps(parts, sort_keys=True)


def settings_digest(settings: str) -> str:
    """The name (32 hexadecimal digits) of what ``method_settings`` gave."""
    return hashlib.sha256(settings.encode()).hexdigest()[:_DIGEST_DIGITS]


def _digest_of(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
