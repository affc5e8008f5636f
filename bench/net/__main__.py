"""Print the record of the network side alone."""

import json

from bench.machine import this_machine
from bench.net.rows import measure

if __name__ == "__main__":
    print(json.dumps({"machine": this_machine().as_record(), "net": measure()}, indent=2))
