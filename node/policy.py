"""Reads a follow-up policy table (YAML); the shipped one is ``node/policies/default.yaml``."""

from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from node.errors import ConfigError
from quant.follow_up import Band, Indication, Policy, Rule, Source

_Id = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Band(_Entry):
    id: str = _Id
    from_mg_per_g: float = Field(ge=0, allow_inf_nan=False)


class _Source(_Entry):
    id: str = _Id
    citation: str = Field(min_length=10)
    population: str = Field(min_length=3)
    strength: str = Field(min_length=3)


class _Indication(_Entry):
    id: str = _Id
    label: str = Field(min_length=3)


class _Rule(_Entry):
    id: str = _Id
    indications: tuple[str, ...] = Field(min_length=1)
    bands: tuple[str, ...] = Field(min_length=1)
    months: tuple[int, int] | Literal["clinician-decides"]
    source: str | None = None
    population_match: bool = False
    note: str = ""


class _PolicyFile(_Entry):
    id: str = _Id
    version: str = Field(min_length=1, max_length=32)
    bands: tuple[_Band, ...]
    sources: tuple[_Source, ...]
    indications: tuple[_Indication, ...]
    rules: tuple[_Rule, ...]

    def to_policy(self) -> Policy:
        return Policy(
            id=self.id,
            version=self.version,
            bands=tuple(Band(**band.model_dump()) for band in self.bands),
            sources=tuple(Source(**source.model_dump()) for source in self.sources),
            indications=tuple(Indication(**indication.model_dump()) for indication in self.indications),
            rules=tuple(_rule(rule) for rule in self.rules),
        )


def _rule(rule: _Rule) -> Rule:
    months = None if rule.months == "clinician-decides" else rule.months
    return Rule(**{**rule.model_dump(), "months": months})


def load_policy(path: Path | None, signed_off_by: str | None, signed_off_on: str | None) -> Policy:
    """The policy in ``path`` (``None``: the shipped one), with its approval for this site.

    Raises:
        ConfigError: the file cannot be read or is not a complete policy; the text names the file and the key.
    """
    name = "the shipped follow-up policy" if path is None else str(path)
    try:
        text = _shipped() if path is None else path.read_text(encoding="utf-8")
        tree: Any = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from error
    try:
        policy = _PolicyFile.model_validate(tree).to_policy()
    except ValidationError as error:
        raise ConfigError(f"{name}: {_explain(error, tree)}") from error
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error
    return policy.signed(signed_off_by, signed_off_on)


def _shipped() -> str:
    return (resources.files("node") / "policies" / "default.yaml").read_text(encoding="utf-8")


def _explain(error: ValidationError, tree: Any) -> str:
    return "; ".join(f"{_where(item['loc'], tree)}: {_message(item['type'], item['msg'])}" for item in error.errors())


def _message(kind: str, text: str) -> str:
    return "unknown key" if kind == "extra_forbidden" else text


def _where(location: tuple[int | str, ...], tree: Any) -> str:
    """The key as the file writes it; entries of a list by their id where they have one."""
    parts = []
    for part in location:
        if isinstance(part, int) and isinstance(tree, list) and part < len(tree):
            tree = tree[part]
            parts.append(str(tree.get("id", part)) if isinstance(tree, dict) else str(part))
        elif isinstance(tree, dict) and part in tree:
            tree = tree[part]
            parts.append(str(part))
        else:
            parts.append(str(part))
            tree = None
    return ".".join(parts) or "policy"
