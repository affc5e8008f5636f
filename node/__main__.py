"""Entry point of the ``ironnode`` command."""

import signal
import sys

_READ_AGAIN_ON_HANGUP = ("serve", "gateway", "worker")


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] and sys.argv[1] in _READ_AGAIN_ON_HANGUP:  # first: the imports take seconds on a slow machine
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the configuration is still to be read anyway
    from node.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
