"""The sentences that the code can put on the page, found in the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from quant.calibration import CALIBRATIONS
from quant.grading import SCHEMES

REPOSITORY = Path(__file__).resolve().parents[3]
SOURCES = (
    *("quant", "node/report", "node/process"),
    *(f"node/intake/{name}.py" for name in ("admission", "assembly", "grid", "headers", "sisters", "stacks", "strays")),
)
ELSEWHERE = (
    "quant/calibration.py",  # its names and cautions: by ``data_texts``
    "quant/grading.py",  # its labels: by ``data_texts``
    "quant/phantom",
    "node/process/batch.py",  # the command line
    "node/process/found.py",
    "node/process/inspection.py",
    "node/process/pipeline.py",  # progress
    "node/process/pixels.py",  # faults of the caller
    "node/process/ruled.py",
    "node/report/flow.py",
    "node/report/text.py",  # report.txt, English
)
"""Modules whose texts are for operators and developers; every other module counts."""
NOT_ON_THE_PAGE = {
    *("has no rule", "Olivieri and Brittenham", "NO CONTRAST", "NONE GIVEN"),  # an error, names, headers
    *("PROJECTION IMAGE", "PALETTE COLOR", "FAT FRACTION"),  # headers
    *("SOP Class UID", "SOP Instance UID", "Study Instance UID", "Series Instance UID"),  # unreadable files
    *("lower left", "upper right", "warnings marker"),  # of the layout
    "decodes to",  # for the log
}
_GAP = "\0"
_FEWEST_LETTERS = 9


def pieces() -> Iterator[tuple[str, str]]:
    """(place, words): what stands between the gaps and numbers of every text in the sources."""
    for name in SOURCES:
        path = REPOSITORY / name
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            if str(file.relative_to(REPOSITORY)).startswith(ELSEWHERE):
                continue
            for line, text in _texts(ast.parse(file.read_text(encoding="utf-8"))):
                for piece in re.split(rf"{_GAP}|\d+(?:\.\d+)?|[.):] (?=[A-Za-z])", text):
                    words = piece.strip(" .,;:()%")
                    if words in NOT_ON_THE_PAGE:
                        continue
                    if " " in words and len(re.sub(r"[^A-Za-z]", "", words)) >= _FEWEST_LETTERS:
                        yield f"{file.relative_to(REPOSITORY)}:{line}", words


def data_texts() -> set[str]:
    """Whole texts of the tables: the shipped follow-up policy, the calibrations and the grade schemes."""
    policy = yaml.safe_load((REPOSITORY / "node/policies/default.yaml").read_text(encoding="utf-8"))
    texts = {source[key] for source in policy["sources"] for key in ("citation", "population", "strength")}
    texts |= {indication["label"] for indication in policy["indications"]}
    texts |= {rule["note"] for rule in policy["rules"] if "note" in rule}
    texts |= {c.caution for c in CALIBRATIONS.values()} | {f"{c.name}: {c.caution}." for c in CALIBRATIONS.values()}
    texts -= {text for text in texts if not text or text.endswith(": .")}
    texts |= {f"{name}; 12 echoes used; measurable to 785 /s" for name in _fit_names()}
    return texts | {label for scheme in SCHEMES.values() for label in scheme.labels}


def _fit_names() -> Iterator[str]:
    """Model and noise law of every fit of patients, as a result names them."""
    for law in ("rician", "non-central chi (4.0 coils)"):
        yield f"magnitude first moment, {law} (background and region)"
    for source in ("background", "body residual"):
        for law in ("rician", "non-central chi (4.0 coils)"):
            yield f"magnitude first moment, {law} ({source})"
            yield f"magnitude fat first moment, {law} ({source})"
        complex_law = "gaussian (complex), rician (magnitude) where the phase was not used"
        yield f"complex fat, {complex_law} ({source} of the complex image)"
        yield f"magnitude fat first moment, rician (magnitude of complex) ({source} of the complex image)"


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    passed = {id(inner) for node in ast.walk(tree) for left_out in _left_out(node) for inner in ast.walk(left_out)}
    for node in ast.walk(tree):
        if id(node) in passed:
            continue
        if isinstance(node, ast.JoinedStr):
            passed.update(id(value) for value in node.values if isinstance(value, ast.Constant))
            yield node.lineno, "".join(v.value if isinstance(v, ast.Constant) else _GAP for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def _left_out(node: ast.AST) -> Iterator[ast.AST]:
    """Docstrings, and errors that are no reason of a refusal."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        yield node
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        name = ast.unparse(node.exc.func)
        if name in ("ValueError", "OtherSizeError", "ConfigError", "TypeError", "InputError", "storage_error"):
            yield node
