"""The storage root as a file system of its own, so that it can go away and lose what was not flushed."""

import array
import fcntl
import os
import subprocess
from pathlib import Path

_SIZE_BYTES = 8 << 30  # sparse
_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN (fs/ext4/ext4.h): _IOR('X', 125, __u32)
_NO_LOG_FLUSH = 2  # nothing more is written, the journal neither: as when the power goes


class FileServer:
    """An ext4 in an image file in ``folder``, mounted on ``root``, below a mount of its own that tells the hosts' mount
    namespaces of every change: else they would hold the file system after its loss of power.

    ``hang`` stops every write until ``go_on``, as a hard NFS mount does while its server is away: whoever writes waits
    and cannot even be killed. ``lose_power`` drops all that was not flushed; whoever still asks gets EIO.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._image, self._root = folder / "storage.ext4", root
        self._hangs = False
        with self._image.open("wb") as file:
            file.truncate(_SIZE_BYTES)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        root.mkdir(parents=True)
        for way in ("--bind", "--make-shared"):
            _run("mount", way, *([str(root.parent)] * (2 if way == "--bind" else 1)))
        self.mount()

    def mount(self) -> None:
        """Have it at ``root``; after a loss of power its journal is replayed."""
        _run("mount", "-o", "loop", str(self._image), str(self._root))
        mounted = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        if any("shutdown" in words[3].split(",") for words in mounted if words[1] == str(self._root)):
            raise RuntimeError("a mount namespace made while the harness ran holds the file system of before")

    def hang(self) -> None:
        """Nothing can be written until ``go_on``."""
        self._hangs = True
        _run("fsfreeze", "--freeze", str(self._root))

    def go_on(self) -> None:
        """It answers again; nothing where it did not hang."""
        if self._hangs:
            _run("fsfreeze", "--unfreeze", str(self._root))
            self._hangs = False

    def lose_power(self) -> None:
        """What was not flushed is gone. ``unmount`` and ``mount`` before it is used again."""
        descriptor = os.open(self._root, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, array.array("I", [_NO_LOG_FLUSH]))
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Take everything away; the image file is left."""
        self.go_on()
        self.unmount()
        _run("umount", str(self._root.parent))

    def unmount(self) -> None:
        """Take it away, where it is there; nobody may have a file of it open."""
        if self._root.is_mount():
            _run("umount", str(self._root))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
