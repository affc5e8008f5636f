"""A listener as a process of its own, for tests that kill it: prints its port, then serves until it is killed."""

import signal
import sys
from pathlib import Path

from node.config import AllowedPeer, ReceiveConfig
from node.dimse.scp import Listener
from node.intake.spool import Spool

if __name__ == "__main__":
    everybody = (AllowedPeer(ae_title="*", host="127.0.0.1"),)
    listener = Listener(ReceiveConfig(host="127.0.0.1", port=0, allow=everybody), Spool(Path(sys.argv[1])))
    listener.start()
    print(listener.port, flush=True)
    signal.pause()
