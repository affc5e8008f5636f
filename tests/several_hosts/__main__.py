"""``make several-hosts``: kill or cut off any one host while acquisitions flow; say what was lost.

``--workers 1 2 4 --throughput 40`` measures instead how many acquisitions an hour so many workers get through.
"""

import argparse
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

from tests.crash.conduct import announce, begin, conclude
from tests.several_hosts.campaign import Campaign, Plan
from tests.several_hosts.site import missing
from tests.several_hosts.throughput import measure, measure_waiting


def main() -> int:
    """0 when every promise was kept, 1 otherwise; 0 and a word where the machine does not allow it."""
    parser = argparse.ArgumentParser(prog="python -m tests.several_hosts", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--workers", type=int, nargs="+", default=[4])
    parser.add_argument("--throughput", type=int, help="so many acquisitions for each number of workers")
    parser.add_argument("--waiting", action="store_true", help="of measurements that wait and compute nothing")
    options = parser.parse_args()
    if (lack := missing()) is not None:
        announce(f"skipped: {lack}")
        return 0
    folder = Path(mkdtemp(prefix="ironnode-hosts-"))
    begin(options.seed, folder)
    if options.throughput is not None:
        for workers in options.workers:
            how = measure_waiting if options.waiting else measure
            announce(how(folder / f"workers-{workers}", workers, options.throughput))
        return 0
    plan = Plan(seed=options.seed, longest_s=60 * options.minutes, workers=options.workers[0])
    campaign = Campaign(folder / "campaign", plan, announce)
    verdict = campaign.run()
    return conclude(folder, campaign.table(verdict), verdict)


if __name__ == "__main__":
    sys.exit(main())
