"""What the sections of the configuration are made of."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

AeTitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[^\\\x00-\x1f]*[^\\\x00-\x20]$")]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ObjectRole = Literal["map", "page", "sr", "seg", "pm", "pdf", "pr", "ko", "rejection"]
OBJECT_ROLES: tuple[ObjectRole, ...] = ("map", "page", "sr", "seg", "pm", "pdf", "pr", "ko", "rejection")
TELLING_KINDS: tuple[ObjectRole, ...] = ("page", "pdf", "sr")
"""Kinds of result objects (a role's part before the dot) that tell a reader the result, refusal or value."""


class Section(BaseModel):
    """A mapping of the configuration: its keys are fixed, its values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PlacedError(ValueError):
    """What is wrong with a section stands at ``location`` below it: the message can name the line."""

    def __init__(self, location: tuple[int | str, ...], text: str) -> None:
        super().__init__(text)
        self.location = location


def refuse_twice(key: str, names: Sequence[str]) -> None:
    """Raise for the first of ``names``, the names of the items of the list ``key``, that stands there already."""
    for index, name in enumerate(names):
        if name in names[:index]:
            raise PlacedError((key, index, "name"), f"{name}: every name may stand once")
