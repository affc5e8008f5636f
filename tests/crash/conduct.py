"""What every campaign does: threads whose failure is its failure, lines for who watches, and the word at the end."""

import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.crash.verdict import Verdict


class Failures(list[str]):
    """What went wrong in the harness itself; ``over`` is set with the first."""

    def __init__(self, over: threading.Event) -> None:
        super().__init__()
        self._over = over

    def thread(self, work: Callable[..., None], *arguments: object, daemon: bool = False) -> threading.Thread:
        """A thread, not started, whose end by an exception is told here."""

        def guarded() -> None:
            try:
                work(*arguments)
            except BaseException:  # noqa: BLE001 - a thread's edge: else it would end unseen, and the campaign pass
                self.append(f"harness: {traceback.format_exc()}")
                self._over.set()

        return threading.Thread(target=guarded, daemon=daemon)


def announce(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def begin(seed: int, folder: Path) -> None:
    """Say what to repeat a campaign with; ended from outside, it clears its mounts and processes away."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    announce(f"seed {seed}, folder {folder}")


def cut_short_on_signal(cut_short: Callable[[], None]) -> None:
    """The first SIGTERM or SIGINT has a campaign end early, with its reckoning; the second does not wait for that."""

    def first(number: int, _frame: object) -> None:
        signal.signal(number, lambda *_: sys.exit("ended from outside"))
        announce("cut short: nothing new; what is on its way is waited for and judged")
        cut_short()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, first)


def conclude(folder: Path, table: str, verdict: Verdict) -> int:
    """Keep and print the table and what was broken; the exit status."""
    (folder / "table.md").write_text(table)
    (folder / "broken.txt").write_text("\n".join(verdict.broken) + "\n")
    announce("\n" + table)
    for text in verdict.broken[:50]:
        announce(f"BROKEN: {text}")
    return 1 if verdict.broken else 0
