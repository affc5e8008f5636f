"""SIGKILL in the middle of receiving: what was acknowledged is on disk and whole, what was not leaves no trace."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from node.dimse.scu import Peer, send
from node.errors import PeerError
from node.intake.dataset_walk import walk_file
from node.intake.file_meta import decode_file_meta, head_bytes
from node.intake.spool import Spool
from node.model import StoreOutcome
from tests.node.intake.encoded_images import encoded, image, written

SENDERS, IMAGES = 4, 60


@pytest.mark.parametrize("acknowledged_before_the_kill", [1, 17, 60])
def test_a_killed_listener_keeps_its_word(tmp_path: Path, acknowledged_before_the_kill: int) -> None:
    root = tmp_path / "storage"
    command = [sys.executable, "-m", "tests.loopback.listener_process", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        peer = Peer(ae_title="IRONNODE", host="127.0.0.1", port=int(process.stdout.readline()))
        acknowledged: list[str] = []
        enough = threading.Event()

        def note(outcome: StoreOutcome) -> None:
            if outcome.stored:
                acknowledged.append(outcome.path.stem)
                if len(acknowledged) >= acknowledged_before_the_kill:
                    enough.set()

        def transmit(paths: list[Path]) -> None:
            try:
                send(paths, peer, calling_ae_title="MR1", on_outcome=note)
            except PeerError:
                return

        threads = [threading.Thread(target=transmit, args=(_images(tmp_path, n),)) for n in range(1, SENDERS + 1)]
        for thread in threads:
            thread.start()
        assert enough.wait(30)
        process.kill()
        for thread in threads:
            thread.join()
    spool = Spool(root)
    kept = {found.sop_instance_uid: found.path for found in spool.inbox()}
    assert len(acknowledged) >= acknowledged_before_the_kill
    assert set(acknowledged) <= set(kept)
    for uid, path in kept.items():
        meta, start = decode_file_meta(path.read_bytes()[: head_bytes()], path.name)
        assert walk_file(path, start, meta.transfer_syntax_uid).sop_instance_uid == uid
        assert path.read_bytes()[start:] == encoded(image(uid, rows=128))
    spool.sweep()
    assert list(spool.temporary_folder.iterdir()) == []


def _images(folder: Path, sender: int) -> list[Path]:
    paths = [folder / f"1.{sender}.{number}.dcm" for number in range(IMAGES)]
    for path in paths:
        path.write_bytes(written(image(path.stem, rows=128)))
    return paths
