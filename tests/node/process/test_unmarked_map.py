"""A map that nothing marks, with echo 1's header and an echo time of its own, poses as an echo: no number is given."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydicom import dcmread

from node.config import Config
from node.model import JobInput
from node.process.pipeline import measure, result_of
from node.process.pixels import read_acquisition
from node.process.settings import settings_of
from node.simulate import write_phantom
from quant.phantom import default_echo_times_s, make_abdomen
from tests.node.mr_images import save_all, set_pixels


def test_unmarked_map_among_the_echoes_leaves_no_number(tmp_path: Path) -> None:
    times = default_echo_times_s(1.5, echoes=5, delta_te_ms=1.3)
    phantom = make_abdomen(n_slices=3, matrix=48, snr=100, echo_times_s=times)
    every = [dcmread(path) for path in write_phantom(phantom, tmp_path / "in", dialect="generic")]
    heights = sorted({float(ds.ImagePositionPatient[2]) for ds in every})
    maps = [dcmread(path) for path in sorted((tmp_path / "in").glob("*.dcm"))]
    maps = [ds for ds in maps if float(ds.EchoTime) == min(float(other.EchoTime) for other in every)]
    for number, ds in enumerate(maps):
        del ds.EchoNumbers
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.{number}"
        ds.EchoTime = "4.2"
        r2star = phantom.truth.r2star_per_s[heights.index(float(ds.ImagePositionPatient[2]))]
        set_pixels(ds, np.clip(np.nan_to_num(10 * r2star), 0, 30000).astype(np.uint16))
    loaded = read_acquisition(save_all([*every, *maps], tmp_path / "edited"))
    assert len(loaded.acquisition.echo_times_s) == 6  # nothing in the headers tells
    config = Config()
    job = JobInput(job_id="map", files=(), accepted_at=datetime(2026, 1, 1, tzinfo=UTC))
    result = result_of(measure(loaded, config, lambda _: None), job, config, settings_of(config))
    assert result.status == "not_measurable"
    assert result.reasons
