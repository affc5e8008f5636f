"""The order's reasons, by the site's table: whole texts and codes, never a guess."""

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.config import Config, OrderReason
from node.errors import ConfigError
from node.process.batch import process_files
from node.process.facts import IndicationFacts
from node.process.indication import indication_of_order
from node.process.settings import settings_of
from node.simulate import write_phantom
from quant.phantom import make_abdomen

SCD, TDT = "scd-chronic-transfusion", "thalassaemia-transfusion-dependent"
TABLE = (
    OrderReason(reason="SCT:127040003", indication=SCD),
    OrderReason(reason="Sickle cell, chronic transfusion", indication=SCD),
    OrderReason(reason="THAL-TD", indication=TDT),
)
SCD_CODE = ("127040003", "SCT", "Sickle cell disease")


@pytest.mark.parametrize(
    ("texts", "codes", "default", "indication", "line"),
    [
        ((), (), None, None, None),
        ((), (), TDT, TDT, None),
        ((), (SCD_CODE,), TDT, SCD, "indication_from_order"),
        (("sickle  cell, CHRONIC transfusion ",), (), None, SCD, "indication_from_order"),
        (("sickle cell, chronic transfusion",), (SCD_CODE,), None, SCD, "indication_from_order"),
        (("liver lesion?", "thal-td"), (), None, TDT, "indication_from_order"),
        (("no sickle cell, chronic transfusion",), (), None, None, "indication_not_mapped"),
        (("liver lesion?",), (), SCD, None, "indication_not_mapped"),
        ((), (("127040003", "99LOCAL", ""),), SCD, None, "indication_not_mapped"),
        (("thal-td",), (SCD_CODE,), SCD, None, "indication_contradicts"),
    ],
)
def test_reasons(
    texts: tuple[str, ...],
    codes: tuple[tuple[str, str, str], ...],
    default: str | None,
    indication: str | None,
    line: str | None,
) -> None:
    found = indication_of_order(IndicationFacts(texts=texts, codes=codes), TABLE, default)
    assert found.indication == indication
    assert [qc.code for qc in found.qc] == ([] if line is None else [line])
    assert not any("lesion" in qc.text for qc in found.qc)  # the order's own words stay out


def test_a_table_that_names_no_indication_of_the_policy_is_an_error() -> None:
    config = Config.model_validate({"follow_up": {"order_reasons": [{"reason": "SCT:1", "indication": "scd"}]}})
    with pytest.raises(ConfigError, match=r"follow_up.order_reasons.SCT:1: indication scd is not in follow-up policy"):
        settings_of(config)


def test_a_coded_reason_in_the_images_chooses_the_rule_in_record_and_report(tmp_path: Path) -> None:
    paths = write_phantom(make_abdomen(n_slices=4, matrix=96, snr=50), tmp_path / "in", dialect="generic")
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = SCD_CODE
    request = Dataset()
    request.ReasonForRequestedProcedureCodeSequence = [code]
    for path in paths:
        ds = dcmread(path)
        ds.RequestAttributesSequence = [request]
        ds.save_as(path)
    config = Config.model_validate({"follow_up": {"order_reasons": [entry.model_dump() for entry in TABLE]}})
    (result,) = process_files([tmp_path / "in"], tmp_path / "out", config, indication=None, show=print)
    record = result.record
    assert record["follow_up"]["indication"] == SCD
    assert record["follow_up"]["population_match"] is True
    assert record["follow_up"]["rule_id"].endswith("/SCD-1")
    assert "indication_from_order" in {line["code"] for line in record["qc"]}
    reports = [ds for ds in map(dcmread, (tmp_path / "out").rglob("*.dcm")) if ds.Modality == "SR"]
    assert any(item.get("TextValue") == SCD for item in reports[0].ContentSequence[-1].ContentSequence)
