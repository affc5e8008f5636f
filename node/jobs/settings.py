"""The settings that jobs were made under, on disk: every job is measured with its own, whoever measures it.

``<digest>.json`` holds the method settings of that digest (``node.config.method``), ``<SHA-256>.yaml`` a policy or the
texts of the report that they name. Nothing here is ever another content under the same name, and nothing is removed: a
result names its settings, and what they were can be looked up. No content is used that does not have the digest that it
is named by.
"""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from node.config import Config
from node.config.method import METHOD_SECTIONS, method_settings, settings_digest
from node.errors import ConfigError, SettingsError, StorageError
from node.intake.durable_io import storage_error
from node.jobs.durable import write_durably
from node.ops.events import Event, emit


class SettingsStore:
    """The folder of kept settings; all gateways and workers of a storage root share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, config: Config) -> Config:
        """``config`` with kept copies in place of the policy and the texts that it names; its method settings are on
        disk. A kept file that is damaged is told, and made anew.

        Raises:
            ConfigError: a file that it names cannot be read, or is a kept copy that is damaged.
            StorageError: the disk refused.
        """
        policy = self._keep_file(config.follow_up.policy_file, "follow_up.policy_file")
        texts = self._keep_file(config.report.texts_file, "report.texts_file")
        kept = _with_files(config, policy, texts)
        try:
            settings = method_settings(kept)
        except OSError as error:
            raise ConfigError(f"{error.filename} cannot be read: {error.strerror or error}") from error
        self._put(f"{settings_digest(settings)}.json", settings.encode())
        return kept

    def of(self, digest: str, own: Config) -> Config:
        """``own`` with the method settings of that digest in place of its own.

        A kept file that is damaged is told.

        Raises:
            SettingsError: they are not kept here, or cannot be had as they were.
            StorageError: the disk refused, or the folder is away.
        """
        path = self._folder / f"{digest}.json"
        words = f"settings {digest}, which it was made under"
        try:
            config = self._with(json.loads(_read(path)), own)
            found = config.method_digest()
        except FileNotFoundError as error:
            self._refuse_absent_folder()
            raise SettingsError(f"{words}: {error.filename} is not there") from error
        except OSError as error:
            raise storage_error(error, f"{error.filename or path} cannot be read") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SettingsError(f"{path}: changed, cut off or of another release") from error
        if found != digest:
            raise SettingsError(
                f"{words}: they are now others, {found} (a kept file was changed, the model of segmenter.model is "
                "another, or this is another release)"
            )
        return config

    def digest_of(self, config: Config) -> str | None:
        """The digest of settings whose files are kept here; ``None`` where one of them is gone.

        Raises:
            StorageError: the disk refused, or the folder is away.
        """
        try:
            return config.method_digest()
        except FileNotFoundError:
            self._refuse_absent_folder()
            return None
        except OSError as error:
            raise storage_error(error, f"{error.filename or self._folder} cannot be read") from error

    def _refuse_absent_folder(self) -> None:
        """Nothing of it is lost where the disk that holds it is away."""
        if not self._folder.is_dir():
            raise StorageError(f"{self._folder} is not there")

    def _with(self, settings: dict[str, Any], own: Config) -> Config:
        """What ``settings`` say, read as a part of the configuration."""
        policy, texts = settings["policy"], settings["report"]["texts_file"]
        model = None if settings["segmenter"]["model"] is None else own.segmenter.model
        if model is None and settings["segmenter"]["model"] is not None:
            raise SettingsError("it was made for a model, and segmenter.model names none now")
        settings["segmenter"]["model"] = model
        settings["report"]["texts_file"] = None
        sections = {name: type(getattr(own, name)).model_validate(settings[name]) for name in METHOD_SECTIONS}
        return _with_files(own.model_copy(update=sections), self._copy(policy), self._copy(texts))

    def _copy(self, digest: str | None) -> Path | None:
        if digest is None:
            return None
        path = self._folder / f"{digest}.yaml"
        _read(path)
        return path

    def _keep_file(self, path: Path | None, key: str) -> Path | None:
        if path is None:
            return None
        is_copy = path.resolve().parent == self._folder.resolve()
        try:
            data = path.read_bytes()
        except OSError as error:
            advice = "; reload or restart the node" if is_copy else ""
            raise ConfigError(f"{key}: {path} cannot be read: {error.strerror or error}{advice}") from error
        name = f"{hashlib.sha256(data).hexdigest()}.yaml"
        if is_copy and path.name != name:
            raise ConfigError(f"{key}: {path} was changed or cut off since it was kept; reload or restart the node")
        self._put(name, data)
        return self._folder / name

    def _put(self, name: str, data: bytes) -> None:
        path = self._folder / name
        try:
            if path.read_bytes() == data:
                return
            _tell_damaged(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise storage_error(error, f"{path} cannot be read") from error
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise storage_error(error, f"{self._folder} cannot be made") from error
        write_durably(path, data, mode=0o600)  # the arguments of segmenter.argv are in it


def _read(path: Path) -> bytes:
    """The content of a kept file; that it is not what the file is named by is told."""
    data = path.read_bytes()
    if not hashlib.sha256(data).hexdigest().startswith(path.stem):
        _tell_damaged(path)
    return data


def _tell_damaged(path: Path) -> None:
    emit(Event.SETTINGS_DAMAGED, logging.ERROR, file=path.name)


def _with_files(config: Config, policy: Path | None, texts: Path | None) -> Config:
    follow_up = config.follow_up.model_copy(update={"policy_file": policy})
    report = config.report.model_copy(update={"texts_file": texts})
    return config.model_copy(update={"follow_up": follow_up, "report": report})
