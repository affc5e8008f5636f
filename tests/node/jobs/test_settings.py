"""Kept settings: found by their digest as they were, and never used when they are something else."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import node as node_package
from node.config import Config, load_config
from node.errors import ConfigError, SettingsError, StorageError
from node.jobs.settings import SettingsStore
from node.process.settings import settings_of
from node.report.language import catalogue

POLICY = Path(node_package.__file__).parent / "policies" / "default.yaml"
SETTINGS = """
storage: {root: root}
calibration: {by_field: {"1.5": garbowski-2014}}
follow_up:
  policy_file: policy.yaml
  signed_off_by: Dr. No
  signed_off_on: 2026-01-02
  order_reasons: [{reason: "SCT:127040003", indication: scd-chronic-transfusion}]
uncertainty: {repeatability_cov: 0.07}
segmenter: {kind: onnx, model: model}
report: {language: de, texts_file: texts.yaml, time_zone: Europe/Vienna, institution: Here}
"""


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Config]:
    """Writes the site's files and reads its configuration."""

    def write(settings: str = SETTINGS, *, policy: str = "", texts: str = "Eisen") -> Config:
        (tmp_path / "policy.yaml").write_text(POLICY.read_text() + policy)
        (tmp_path / "texts.yaml").write_text(f"texts: {{Iron: {texts}}}\n")
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / "model.json").write_text("{}")
        (tmp_path / "config.yaml").write_text(settings)
        return load_config(tmp_path / "config.yaml")

    return write


@pytest.fixture
def store(tmp_path: Path) -> SettingsStore:
    return SettingsStore(tmp_path / "kept")


def kept_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "kept").iterdir()}


def test_a_worker_with_other_settings_finds_those_of_the_job(site, store) -> None:
    before = store.keep(site())
    digest = before.method_digest()
    assert digest == site().method_digest()  # where a file lies does not count
    today = site("storage: {root: elsewhere}\nsegmenter: {model: model}", policy="# edited\n", texts="Metall")
    found = store.of(digest, today)
    assert found.method_digest() == digest != today.method_digest()
    assert found.storage == today.storage
    assert settings_of(found) == settings_of(before)
    assert catalogue("de", found.report.texts_file)("Iron") == "Eisen"
    sections = ("calibration", "grading", "follow_up", "uncertainty", "segmenter", "report")
    assert [getattr(found, s) for s in sections] == [getattr(before, s) for s in sections]


@pytest.mark.parametrize("texts", ["Metall", None])
def test_the_texts_of_the_report_are_a_part_of_the_settings(site, store, texts) -> None:
    before = store.keep(site())
    after = store.keep(site(texts=texts) if texts else site(SETTINGS.replace("texts_file: texts.yaml, ", "")))
    assert after.method_digest() != before.method_digest()
    for kept in (before, after):
        assert store.of(kept.method_digest(), site()) == kept


def test_the_settings_without_files_are_kept_too(store) -> None:
    assert store.of(store.keep(Config()).method_digest(), Config()) == Config()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _edit(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


@pytest.mark.parametrize("damage", [_cut, _edit, Path.unlink])
@pytest.mark.parametrize("which", ["settings", "policy", "texts"])
def test_damaged_settings_are_refused_with_words_and_made_anew_by_the_next_reading(
    site, store, tmp_path, caplog, damage, which
) -> None:
    kept = store.keep(site())
    digest = kept.method_digest()
    before = kept_files(tmp_path)
    files = {
        "settings": tmp_path / "kept" / f"{digest}.json",
        "policy": kept.follow_up.policy_file,
        "texts": kept.report.texts_file,
    }
    damage(files[which])
    if (which, damage) == ("settings", _edit):
        assert store.of(digest, Config(segmenter=kept.segmenter)) == kept.model_copy(
            update={"storage": Config().storage}
        )
    else:
        with pytest.raises(SettingsError, match=r"made under|cut off"):
            store.of(digest, site())
    store.keep(site())
    assert kept_files(tmp_path) == before
    told = [r.fields for r in caplog.records if getattr(r, "event", "") == "settings_damaged"]
    assert told == (
        [] if damage == Path.unlink else [{"file": files[which].name}] * 2
    )  # who reads it, and who mends it


@pytest.mark.parametrize("damage", [_cut, _edit])
@pytest.mark.parametrize("key", ["follow_up.policy_file", "report.texts_file"])
def test_a_configuration_that_names_a_damaged_copy_makes_no_job(site, store, damage, key) -> None:
    kept = store.keep(site())
    section, _, name = key.partition(".")
    damage(getattr(getattr(kept, section), name))
    with pytest.raises(ConfigError, match=rf"{key}: .* was changed or cut off since it was kept; reload or restart"):
        store.keep(kept)


def test_another_model_is_not_the_one_that_the_job_was_made_for(site, store, tmp_path) -> None:
    digest = store.keep(site()).method_digest()
    (tmp_path / "model" / "model.json").write_text('{"a": 1}')
    with pytest.raises(SettingsError, match=r"the model of segmenter\.model is another"):
        store.of(digest, load_config(tmp_path / "config.yaml"))
    with pytest.raises(SettingsError, match=r"made for a model, and segmenter\.model names none now"):
        store.of(digest, Config())
    read = load_config(tmp_path / "config.yaml")
    (tmp_path / "model" / "model.json").unlink()
    with pytest.raises(ConfigError, match=r"model\.json cannot be read: No such file"):
        store.keep(read)


def test_the_folder_and_what_is_in_it_are_the_nodes_alone(site, store, tmp_path) -> None:
    store.keep(site())
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "kept").iterdir()}
    assert ((tmp_path / "kept").stat().st_mode & 0o777, modes) == (0o700, {0o600})


def test_a_folder_or_disk_that_is_away_is_a_fault_of_the_disk(site, store, tmp_path) -> None:
    kept = store.keep(site())
    digest, policy = kept.method_digest(), Path(kept.follow_up.policy_file)
    policy.unlink()
    policy.mkdir()  # stands for a disk that cannot be read
    for ask in (lambda: store.of(digest, site()), lambda: store.digest_of(kept)):
        with pytest.raises(StorageError, match=rf"{policy.name} cannot be read"):
            ask()
    policy.rmdir()
    assert store.digest_of(kept) is None
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory; reload or restart the node"):
        store.keep(kept)
    (tmp_path / "kept").rename(tmp_path / "away")
    for ask in (lambda: store.of(digest, site()), lambda: store.digest_of(kept)):
        with pytest.raises(StorageError, match="kept is not there"):
            ask()


def test_every_name_is_a_digest_of_the_content(site, store, tmp_path) -> None:
    kept = store.keep(site())
    for name, content in kept_files(tmp_path).items():
        assert hashlib.sha256(content).hexdigest().startswith(Path(name).stem)
    settings = json.loads((tmp_path / "kept" / f"{kept.method_digest()}.json").read_text())
    assert settings["policy"] == Path(kept.follow_up.policy_file).stem
