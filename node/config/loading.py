"""Reads the configuration file; the only reader of its YAML and of the environment.

Unknown keys and wrong values are errors that name the key and the line.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from node.config.parts import PlacedError, Section
from node.config.secrets import SecretError, with_secrets
from node.config.sections import Config
from node.errors import ConfigError

_FOLDERS = ("storage.root", "segmenter.model")  # every other path names a file
_S = TypeVar("_S", bound=Section)


def load_config(path: Path | None) -> Config:
    """Read a configuration file; ``None`` gives the defaults.

    The environment variable ``IRONNODE_STORAGE_ROOT`` overrides ``storage.root``, so that a container can place it;
    those of ``node.config.secrets`` override URLs that hold passwords.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or a key is unknown or wrong (the text names key and line).
    """
    tree: Any = {}
    node: yaml.Node | None = None
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            _refuse_duplicates(node, path)
            tree = yaml.safe_load(text) or {}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
        except ValueError as error:  # YAML reads dates by itself
            raise ConfigError(f"{path}: a date is wrong: {_unquoted(str(error))}") from None
        except (TypeError, AttributeError, LookupError):
            raise ConfigError(f"{path}: a value is not what its tag (!!) says") from None
        except RecursionError as error:
            raise ConfigError(f"{path}: a part contains itself (& and *), or lies too deep") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not valid YAML: {_fault(error)}") from None  # it quotes the line
        if not isinstance(tree, dict):
            raise ConfigError(f"{path}: the top level must be a mapping of sections")
    tree = {name: {} if section is None and name in Config.model_fields else section for name, section in tree.items()}
    root = os.environ.get("IRONNODE_STORAGE_ROOT")
    if root:
        tree = {**tree, "storage": {**(tree.get("storage") or {}), "root": root}}
    try:
        tree = with_secrets(tree, Path.cwd() if path is None else path.absolute().parent, os.environ)
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, node, path)) from error
    except SecretError as error:
        raise ConfigError(f"{_place(node, path, error.location)}: {error}") from error
    config = _anchored(config, path, root)
    _check_files(config, node, path)
    return config


def _anchored(config: Config, path: Path | None, root_of_environment: str | None) -> Config:
    """Relative paths of a configuration file are relative to its folder, wherever the command is run."""
    folder = Path.cwd() if path is None else path.absolute().parent
    root = (Path.cwd() if root_of_environment else folder) / config.storage.root
    return _beside(config.model_copy(update={"storage": config.storage.model_copy(update={"root": root})}), folder)


def _beside(section: _S, folder: Path) -> _S:
    """The section with every path in it taken as relative to a folder."""

    def anchored(value: Any) -> Any:
        if isinstance(value, Path):
            return folder / value
        if isinstance(value, Section):
            return _beside(value, folder)
        return tuple(anchored(item) for item in value) if isinstance(value, tuple) else value

    return section.model_copy(update={name: anchored(value) for name, value in section})


def _paths(value: Any, key: str) -> Iterator[tuple[str, Path]]:
    """Every path in a section, with its key."""
    if isinstance(value, Path):
        yield key, value
    elif isinstance(value, Section):
        for name, inner in value:
            yield from _paths(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, tuple):
        for number, inner in enumerate(value):
            yield from _paths(inner, f"{key}.{number}")


def _fault(error: yaml.YAMLError) -> str:
    """What is wrong and where, without what stands there: it may be a password."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem is None:
        return "a character that YAML does not allow"
    place = error.problem_mark or error.context_mark
    where = "" if place is None else f"line {place.line + 1}, column {place.column + 1}: "
    return where + _unquoted(error.problem)


def _unquoted(text: str) -> str:
    """Without what a library quotes of the file; what YAML expected (``'<block end>'``) stays."""
    return re.sub(r"""(?!'<[a-z ]+>')'[^']*'|"[^"]*\"""", "...", text)


def _refuse_duplicates(node: yaml.Node | None, path: Path) -> None:
    """YAML lets the last of two equal keys win in silence; an allow-list could vanish that way."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                line = key.start_mark.line + 1
                raise ConfigError(f"{path}, line {line}: {_shown_key(key.value)}: the key stands twice")
            seen.add(key.value)
            _refuse_duplicates(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, path)


def _check_files(config: Config, node: yaml.Node | None, path: Path | None) -> None:
    model = config.segmenter.model
    if model is not None and not (model / "model.json").is_file():
        raise ConfigError(f"{_place(node, path, ('segmenter', 'model'))}: {model} holds no model.json")
    for key, file in _paths(config, ""):
        if key not in _FOLDERS and not file.is_file():
            location = tuple(int(part) if part.isdigit() else part for part in key.split("."))
            secret = key.endswith("password_file")  # the password itself may stand there, by mistake
            fault = "the file that it names does not exist" if secret else f"{file} is not a file"
            raise ConfigError(f"{_place(node, path, location)}: {fault}")


def _explain(error: ValidationError, node: yaml.Node | None, path: Path | None) -> str:
    lines = []
    for item in error.errors():
        cause = item.get("ctx", {}).get("error")
        location = (*item["loc"], *(cause.location if isinstance(cause, PlacedError) else ()))
        message = "unknown key" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        lines.append(f"{_place(node, path, location)}: {message}")
    return "; ".join(lines)


def _shown_key(part: object) -> str:
    """A key as it is named in errors: one that is none may be a value, and a secret, whose blank is missing."""
    return str(part) if re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", str(part)) else "(what stands there as a key)"


def _place(node: yaml.Node | None, path: Path | None, location: tuple[int | str, ...]) -> str:
    """File, line (where the file has one) and key."""
    key = ".".join(_shown_key(part) for part in location) or "configuration"
    line = _line_of(node, location)
    return f"{path}, line {line}: {key}" if line else (f"{path}: {key}" if path else key)


def _line_of(node: yaml.Node | None, location: tuple[int | str, ...]) -> int | None:
    line = None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == str(part)]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def config_schema() -> dict[str, Any]:
    """JSON Schema of the configuration, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(),
        "title": "ironnode configuration",
    }
