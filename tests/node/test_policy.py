"""Reading policy files: errors name the file and the key."""

from importlib import resources
from pathlib import Path

import pytest

from node.errors import ConfigError
from node.policy import load_policy

SHIPPED = (resources.files("node") / "policies" / "default.yaml").read_text(encoding="utf-8")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_copy_of_the_shipped_table_is_the_shipped_table(tmp_path: Path) -> None:
    assert load_policy(write(tmp_path, SHIPPED), None, None) == load_policy(None, None, None)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("months: [12, 24]", "months: [24, 12]", "rules.SCD-1.months"),
        ("months: [12, 24]", "months: soon", "rules.SCD-1.months"),
        ("source: ash-2020", "source: ash-1999", "rules.SCD-1.source: ash-1999"),
        ("population_match: true", "population_math: true", "rules.SCD-1.population_math: unknown key"),
        ("bands: [L0, L1, L2, L3]", "bands: [L0, L1, L2]", "indication scd-chronic-transfusion, band L3 has no rule"),
        ("bands: [L0, L1, L2, L3]", "bands: [L0, L1, L2, L3, L9]", "rules.SCD-1.bands: L9 is not defined"),
        ("from_mg_per_g: 1.8", "from_mg_per_g: low", "bands.L1.from_mg_per_g"),
        ('version: "2026-1"', "", "version: Field required"),
        ("id: ironnode-default", "- id", "not valid YAML"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in SHIPPED
    path = write(tmp_path, SHIPPED.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_policy(path, None, None)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_wrong_top_level(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_policy(tmp_path / "none.yaml", None, None)
    with pytest.raises(ConfigError, match="policy"):
        load_policy(write(tmp_path, "[]"), None, None)
