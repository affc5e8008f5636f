"""A backup that is taken while the node works, put back elsewhere: what it was, and nothing else."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node import backup as backup_module
from node.app import open_node
from node.backup import back_up, restore
from node.config import Config, DatabaseConfig, DestinationConfig, StorageConfig
from node.errors import ConfigError, InputError, IronnodeError, StorageError
from node.jobs.database import LEDGER_FILE, RESTORE_FOLDER
from node.jobs.overview import Overview
from node.jobs.settings import SettingsStore
from node.model import JobState, StoreStatus
from node.runtime import exclusive
from tests.nodekit.quiet_node import Archive, Clock, QuietNode
from tests.nodekit.small_study import write_study

PACS = DestinationConfig(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)


def make_node(folder: Path) -> QuietNode:
    """A job whose objects are delivered, one of whose objects one is not, a study that waits in the inbox."""
    config = Config(storage=StorageConfig(root=folder / "root"), destinations=(PACS,))
    node = QuietNode(config.storage.root, Archive(), Clock(), config)
    node.receive(write_study(folder / "1"))
    node.settle()
    node.archive.refuse = lambda path: StoreStatus.FAILED if path.name == "2.dcm" else None
    node.receive(write_study(folder / "2", 2))
    node.settle()
    node.receive(write_study(folder / "3", 3))
    return node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[QuietNode]:
    node = make_node(tmp_path)
    yield node
    node.close()


@pytest.fixture
def archive(node: QuietNode, tmp_path: Path) -> Path:
    back_up(node.config, tmp_path / "backup.tar")
    return tmp_path / "backup.tar"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    node = make_node(folder)
    back_up(node.config, folder / "backup.tar")
    node.close()
    return (folder / "backup.tar").read_bytes()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Config:
    return Config(storage=StorageConfig(root=tmp_path / "elsewhere"), destinations=(PACS,))


def contents(root: Path) -> dict[str, bytes]:
    """Every file that a node cannot do without."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for folder in ("outbox", "jobs", "spool", "priors", "audit")
        for path in sorted((root / folder).rglob("*"))
        if path.is_file()
    }


def test_the_restored_node_goes_on_where_the_copied_one_was(node, archive, elsewhere) -> None:
    before = contents(node.root)
    sent = {uid: list(copies) for uid, copies in node.archive.received.items()}
    restored = restore(elsewhere, archive)
    assert (restored.ledger, restored.rebuilt.jobs, restored.rebuilt.unreadable) == (True, 0, ())
    assert contents(elsewhere.storage.root) == before
    for name in before:
        written_s, restored_s = ((root / name).stat().st_mtime for root in (node.root, elsewhere.storage.root))
        assert restored_s == int(written_s), name  # arrival and retention go by it

    node.archive.refuse = lambda path: None
    second = QuietNode(elsewhere.storage.root, node.archive, node.clock, elsewhere)
    second.settle()
    jobs = second.jobs()
    assert [job.state for job in jobs] == [JobState.DONE] * 3
    assert all(job.n_sent == job.n_deliveries == 3 for job in jobs)
    assert {uid: node.archive.received[uid] for uid in sent} == sent  # nothing that was there went out again
    assert all(len(copies) == 1 for copies in node.archive.received.values())
    second.close()


def test_what_only_the_node_could_read_only_it_can_read_again(node, tmp_path, elsewhere) -> None:
    SettingsStore(node.root / "settings").keep(node.config)
    back_up(node.config, tmp_path / "backup.tar")
    restore(elsewhere, tmp_path / "backup.tar")
    kept = [path for path in (elsewhere.storage.root / "settings").iterdir() if path.is_file()]
    assert kept
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    assert kept[0].parent.stat().st_mode & 0o777 == 0o700


def test_a_node_that_works_meanwhile_loses_nothing(node, elsewhere, tmp_path) -> None:
    """Whatever moment the copy is of: after a restore everything that was acknowledged before it is done."""
    copied = threading.Event()

    def work() -> None:
        for number in range(4, 40):
            if copied.is_set():
                break
            node.receive(write_study(tmp_path / str(number), number))
            node.steps(4, each_s=40)

    known, sent = {job.job_id for job in node.jobs()}, {uid: list(c) for uid, c in node.archive.received.items()}
    worker = threading.Thread(target=work)
    worker.start()
    try:
        back_up(node.config, tmp_path / "backup.tar")
    finally:
        copied.set()
        worker.join()
    assert restore(elsewhere, tmp_path / "backup.tar").rebuilt.unreadable == ()
    node.archive.refuse = lambda path: None
    second = QuietNode(elsewhere.storage.root, node.archive, node.clock, elsewhere)
    second.settle()
    assert known <= {job.job_id for job in second.jobs()}
    assert all(job.state == JobState.DONE and job.n_sent == 3 for job in second.jobs())
    assert {uid: node.archive.received[uid] for uid in sent} == sent  # nothing that was there before went out again
    second.close()


def test_images_that_leave_the_inbox_while_it_is_copied_are_in_the_archive(
    node, elsewhere, tmp_path, monkeypatch
) -> None:
    """The assembler comes back when the inbox is listed and nothing of it is in the archive yet."""
    acknowledged = {path.name for path in node.spool.inbox_folder.iterdir()}
    add = backup_module._add

    def add_late(tar: tarfile.TarFile, path: Path, name: str) -> str:
        if name.startswith("spool/"):
            node.assembler.step()
        return add(tar, path, name)

    monkeypatch.setattr(backup_module, "_add", add_late)
    back_up(node.config, tmp_path / "backup.tar")
    assert len(acknowledged) == 8
    assert list(node.spool.inbox_folder.iterdir()) == []
    restore(elsewhere, tmp_path / "backup.tar")
    assert acknowledged <= {path.name for path in (elsewhere.storage.root / "spool").rglob("*.dcm")}


def test_without_the_ledger_everything_is_known_and_delivered_again(node, archive, elsewhere) -> None:
    change_manifest(archive, ledger_version=1)
    restored = restore(elsewhere, archive)
    assert (restored.ledger, restored.rebuilt.jobs, restored.rebuilt.results) == (False, 2, 2)
    node.archive.refuse = lambda path: None
    second = QuietNode(elsewhere.storage.root, node.archive, node.clock, elsewhere)
    second.settle()
    assert all(len(set(copies)) == 1 for copies in node.archive.received.values())
    assert sorted({len(copies) for copies in node.archive.received.values()}) == [1, 2]
    second.close()


def test_a_node_whose_ledger_is_elsewhere_does_not_take_the_one_in_the_archive(archive, elsewhere, tmp_path) -> None:
    own = DatabaseConfig(url=f"sqlite:///{tmp_path / 'own.sqlite'}")
    restored = restore(elsewhere.model_copy(update={"database": own}), archive)
    assert (restored.ledger, restored.rebuilt.jobs) == (False, 2)
    assert not (elsewhere.storage.root / LEDGER_FILE).exists()


# ---------------------------------------------------------------- refusals


def members(archive: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(archive) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar]


def rewrite(archive: Path, found: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tarfile.open(archive, "w") as tar:
        for member, data in found:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def change_manifest(archive: Path, **changes: object) -> None:
    *others, (info, data) = members(archive)
    rewrite(archive, [*others, (info, json.dumps({**json.loads(data), **changes}).encode())])


def add(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[Path], None]:
    def change(archive: Path) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        rewrite(archive, [(info, b""), *members(archive)])

    return change


def cut_off(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])


def flip(archive: Path) -> None:
    found = members(archive)
    info, data = next((i, d) for i, d in found if i.name.endswith("2.dcm"))
    found[[i.name for i, _ in found].index(info.name)] = (info, data[:-1] + bytes([data[-1] ^ 1]))
    rewrite(archive, found)


def take_one_out(archive: Path) -> None:
    found = members(archive)
    gone = next(info.name for info, _ in found if info.name.endswith("2.dcm"))
    rewrite(archive, [(info, data) for info, data in found if info.name != gone])


def take_manifest_out(archive: Path) -> None:
    rewrite(archive, members(archive)[:-1])


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (cut_off, "not a whole backup"),
        (take_manifest_out, "it ends before manifest.json"),
        (flip, "2.dcm is not as it was backed up (1 such files)"),
        (take_one_out, "2.dcm is not as it was backed up (1 such files)"),
        (add("added"), "added is not as it was backed up"),
        (add("../outside"), "a member like '../outside'"),
        (add("/outside"), "a member like '/outside'"),
        (add("link", tarfile.SYMTYPE, "/etc"), "a member like 'link'"),
        (add("hard", tarfile.LNKTYPE, "/etc/passwd"), "a member like 'hard'"),
        (lambda archive: archive.write_bytes(b"no tar file" * 100), "not a whole backup"),
        (lambda archive: archive.unlink(), "there is no such file"),
        (lambda archive: change_manifest(archive, ledger_version=99), "restore it with that or a newer one"),
        (lambda archive: change_manifest(archive, backup_version=99), "restore it with that or a newer one"),
        (lambda archive: change_manifest(archive, sha256=None), "manifest.json is not that of a backup"),
    ],
)
def test_what_is_no_whole_backup_is_refused_and_nothing_put_in_place(whole, tmp_path, elsewhere, damage, why) -> None:
    archive = tmp_path / "backup.tar"
    archive.write_bytes(whole)
    damage(archive)
    with pytest.raises(IronnodeError) as refused:
        restore(elsewhere, archive)
    assert why in str(refused.value)
    root = elsewhere.storage.root
    assert [path.name for path in root.iterdir()] == ["run"]
    assert not (root.parent / "outside").exists()
    archive.write_bytes(whole)
    assert restore(elsewhere, archive).ledger  # the same place takes the whole one


def test_a_full_or_used_storage_root_is_left_alone(node, archive) -> None:
    before = contents(node.root)
    with pytest.raises(InputError, match="only put into an empty one"):
        restore(node.config, archive)
    assert contents(node.root) == before


def test_what_is_no_fault_of_the_disk_sends_nobody_to_look_at_it(node, archive, elsewhere) -> None:
    """The command prints text and hint."""
    for config, file in ((node.config, archive), (elsewhere, archive.with_name("absent.tar"))):
        with pytest.raises(IronnodeError) as refused:
            restore(config, file)
        assert (refused.value.hint, refused.value.code) == ("", "input")
    (elsewhere.storage.root / RESTORE_FOLDER).mkdir(parents=True)
    with pytest.raises(ConfigError) as cut_off, open_node(elsewhere):
        pass
    assert "`ironnode restore FILE`" in cut_off.value.hint


def test_a_root_on_which_a_node_runs_is_left_alone(archive, elsewhere) -> None:
    with exclusive(elsewhere.storage.root / "run"), pytest.raises(ConfigError):
        restore(elsewhere, archive)


def test_a_backup_never_writes_over_anything_nor_into_the_root(node, archive) -> None:
    whole = archive.read_bytes()
    with pytest.raises(InputError, match="never writes over another"):
        back_up(node.config, archive)
    assert archive.read_bytes() == whole
    with pytest.raises(InputError, match="belongs on another disk"):
        back_up(node.config, node.root / "backup.tar")


def test_a_backup_that_cannot_be_finished_leaves_nothing_behind(node, tmp_path) -> None:
    with pytest.raises(InputError, match="absent is no folder"):
        back_up(node.config, tmp_path / "absent" / "backup.tar")
    folder = tmp_path / "to"
    folder.mkdir()
    (node.root / "outbox" / "linked").symlink_to("/dev/zero")  # a link is not followed
    back_up(node.config, folder / "backup.tar")
    assert [path.name for path in folder.iterdir()] == ["backup.tar"]
    assert (folder / "backup.tar").stat().st_mode & 0o777 == 0o600
    assert not any("linked" in info.name for info, _ in members(folder / "backup.tar"))


def test_the_commands(node, elsewhere, tmp_path) -> None:
    for name, config in (("a", node.config), ("b", elsewhere)):
        settings = {"storage": {"root": str(config.storage.root)}}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(settings))

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "node", *words], capture_output=True, text=True, timeout=120, check=False
        )

    target, first, second = tmp_path / "b.tar", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")
    done = command("backup", str(target), "--config", first)
    assert done.returncode == 0, done.stderr
    assert "with the ledger" in done.stdout
    done = command("restore", str(target), "--config", second)
    assert done.returncode == 0, done.stderr
    assert "0 jobs that the ledger did not know" in done.stdout
    known = json.loads(command("jobs", "--json", "--config", second).stdout)
    assert [line["job_id"] for line in known] == [line.job_id for line in Overview(node.ledger.database).jobs()]


def test_without_room_for_it_a_backup_is_not_begun(node, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("node.backup.free_mib", lambda folder: 0)
    (tmp_path / "to").mkdir()
    with pytest.raises(StorageError, match=r"the backup needs [1-9][0-9]* MiB, 0 MiB are free"):
        back_up(node.config, tmp_path / "to" / "backup.tar")
    assert not list((tmp_path / "to").iterdir())


def test_no_node_starts_on_a_restore_that_was_cut_off(archive, elsewhere, monkeypatch) -> None:
    def cut_off_after_one(unfinished: Path) -> None:
        first = min(unfinished.iterdir())
        first.rename(unfinished.parent / first.name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("node.backup._put_in_place", cut_off_after_one)
        with pytest.raises(KeyboardInterrupt):
            restore(elsewhere, archive)
    with pytest.raises(ConfigError, match="a restore was cut off"), open_node(elsewhere):
        pass
    with pytest.raises(InputError, match="only put into an empty one"):
        restore(elsewhere, archive)
    shutil.rmtree(elsewhere.storage.root)
    assert restore(elsewhere, archive).ledger
