"""The sentences that the code can put on the page, found in the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
SOURCES = (
    "quant/assess.py",
    "quant/complex_phase.py",
    "quant/fit.py",
    "quant/follow_up.py",
    "quant/liver",
    "quant/prior.py",
    "quant/quality.py",
    "quant/uncertainty.py",
    "quant/views.py",
    "quant/wording.py",
    "node/report/advice.py",
    "node/report/content.py",
    "node/process/drawn_choice.py",
    "node/process/drawn_contours.py",
    "node/process/drawn_planes.py",
    "node/process/drawn_region.py",
    "node/process/drawn_seg.py",
    "node/process/facts.py",
    "node/process/geometry.py",
    "node/process/indication.py",
    "node/process/overrule.py",
    "node/process/quality.py",
    "node/process/refusal.py",
    "node/process/revision.py",
    "node/process/selection.py",
    "node/process/signal.py",
    "node/process/vendor_maps.py",
)
NOT_ON_THE_PAGE = {"has no rule", "Olivieri and Brittenham", "NO CONTRAST", "NONE GIVEN"}  # an error, names, headers
_GAP = "\0"
_FEWEST_LETTERS = 9


def pieces() -> Iterator[tuple[str, str]]:
    """(place, words): what stands between the gaps and numbers of every text in the sources."""
    for name in SOURCES:
        path = REPOSITORY / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            for line, text in _texts(ast.parse(file.read_text(encoding="utf-8"))):
                for piece in re.split(rf"{_GAP}|\d+(?:\.\d+)?|[.):] (?=[A-Za-z])", text):
                    words = piece.strip(" .,;:()%")
                    if words in NOT_ON_THE_PAGE:
                        continue
                    if " " in words and len(re.sub(r"[^A-Za-z]", "", words)) >= _FEWEST_LETTERS:
                        yield f"{file.relative_to(REPOSITORY)}:{line}", words


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
        if name in ("ValueError", "ConfigError", "TypeError"):
            yield node
