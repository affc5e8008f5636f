"""The table of self-checks over the cases of earlier runs: how often each fired rightly and wrongly.

python -m bench.roi --sets hard,impossible --out cases.jsonl
python -m bench.roi.failures cases.jsonl
"""

import json
import sys
from pathlib import Path

from bench.roi.scores import Outcome, check_table


def load(path: Path) -> list[Outcome]:
    """The cases that ``bench.roi --out`` wrote."""
    cases = [json.loads(line) for line in path.read_text().splitlines()]
    return [Outcome(**(case | {name: tuple(case[name]) for name in ("reasons", "failed")})) for case in cases]


if __name__ == "__main__":
    outcomes = [outcome for path in sys.argv[1:] for outcome in load(Path(path))]
    print(f"{len(outcomes)} cases, {sum(o.reported for o in outcomes)} reported", *check_table(outcomes), sep="\n")
