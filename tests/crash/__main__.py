"""``make crash``: kill the node, its disk and its destinations while acquisitions flow; say what was lost."""

import argparse
import shlex
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

from tests.crash.campaign import Campaign, Plan
from tests.crash.conduct import announce, begin, conclude, cut_short_on_signal
from tests.crash.table import write_table


def main() -> int:
    """0 when every promise was kept, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--acquisitions", type=int, default=200)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--minutes", type=float, default=600, help="no new acquisitions after this time")
    parser.add_argument("--measured-every", type=int, default=20, help="one of so many is really measured; 0: none")
    parser.add_argument("--folder", type=Path, help="where to work; it must not exist (default: a temporary folder)")
    options = parser.parse_args()
    folder = options.folder or Path(mkdtemp(prefix="ironnode-crash-")) / "campaign"
    folder.mkdir(parents=True)
    plan = Plan(
        acquisitions=options.acquisitions,
        kills=options.kills,
        seed=options.seed,
        longest_s=60 * options.minutes,
        measured_every=options.measured_every,
    )
    begin(plan.seed, folder)
    campaign = Campaign(folder, plan, announce)
    cut_short_on_signal(campaign.cut_short)
    verdict = campaign.run()
    targets = f"ACQUISITIONS={plan.acquisitions} KILLS={plan.kills} SEED={plan.seed}"
    table = write_table(campaign, verdict, shlex.join(["make", "crash"]) + f" {targets}")
    return conclude(folder, table, verdict)


if __name__ == "__main__":
    sys.exit(main())
