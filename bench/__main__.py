"""Run every benchmark and print one JSON record: the machine, then the ratios (`make bench`)."""

import json

from bench.fit import measure as measure_fit
from bench.machine import this_machine
from bench.net import measure as measure_net


def main() -> None:
    """Print the record."""
    print(json.dumps({"machine": this_machine().as_record(), "fit": measure_fit(), "net": measure_net()}, indent=2))


if __name__ == "__main__":
    main()
