"""Manifests: the job's identity, and what an unreadable one says."""

import json
from dataclasses import replace

import pytest

from node.errors import InputError
from node.jobs.manifest import ManifestStore, derive_job_id, read_manifest


def test_the_job_id_depends_on_images_settings_and_method_and_nothing_else() -> None:
    job_id = derive_job_id(["1.2", "1.3"], "settings", "1")
    assert derive_job_id(["1.3", "1.2"], "settings", "1") == job_id
    others = {
        derive_job_id(["1.2"], "settings", "1"),
        derive_job_id(["1.2", "1.31"], "settings", "1"),
        derive_job_id(["1.2", "1.3"], "other", "1"),
        derive_job_id(["1.2", "1.3"], "settings", "2"),
    }
    assert len(others | {job_id}) == 5
    assert len(job_id) == 32
    assert int(job_id, 16) >= 0


def test_the_manifest_that_stands_wins(tmp_path, clock, make_manifest) -> None:
    store = ManifestStore(tmp_path / "jobs")
    first = make_manifest()
    assert store.keep(first) == first
    clock.pass_s(100)
    assert store.keep(make_manifest()) == first
    later = replace(make_manifest(("1.9",)), missing=("slice 3",))
    store.keep(later)
    assert list(store.all()) == [first, later]
    assert sorted(p.name for p in (tmp_path / "jobs").iterdir()) == sorted(f"{m.job_id}.json" for m in (first, later))


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"manifest_version": 2}', '{"manifest_version": 1, "job_id": "x"}']
)
def test_what_is_no_manifest_is_named(tmp_path, content) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"bad\.json: (not a job )?manifest"):
        read_manifest(path)


def test_a_manifest_is_plain_json(tmp_path, make_manifest) -> None:
    record = json.loads(make_manifest().to_json())
    assert record["manifest_version"] == 1
    assert record["sop_instance_uids"] == ["1.2.1", "1.2.2"]
    assert record["accepted_at"].endswith("+00:00")
