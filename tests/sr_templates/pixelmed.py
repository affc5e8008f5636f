"""PixelMed's checker of TID 1500 on the reports of every kind of result, or on the files given.

    python -m tests.sr_templates.pixelmed [SR-FILE...]

Needs Java and Debian's libpixelmed-java; half a minute for each report, so it is no part of the tests. Exit 1 when an
error is found that is not one of the false alarms below.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sr_templates.check import encode
from tests.sr_templates.test_sr_validators import SETS

JARS = Path("/usr/share/java")
LIBRARIES = (
    "pixelmed",
    "vecmath",
    "hsqldb",
    "commons-codec",
    "commons-compress",
    "commons-net",
    "slf4j-api",
    "slf4j-nop",
)
LIMITS = ("xpathExprGrpLimit", "xpathExprOpLimit", "xpathTotalOpLimit")  # of Java 17, for the checker's style sheet
FALSE_ALARMS = {
    # The checker takes any NUM below a measurement for its wildcard rows of reference values; PS3.16 TID 300 has the
    # uncertainty as HAS PROPERTIES (TID 310).
    "uncertainty as a property of its measurement": re.compile(
        r"Template 1419 ROIMeasurements/\[Row 5\] NUM \*/\[Row 1[34]\] NUM \*: .*/NUM \(37188(6008|5007),SCT,"
        r'"[+-], range of (upper|lower) measurement uncertainty"\): Incorrect relationship - expected INFERRED FROM - '
        r"found HAS PROPERTIES"
    ),
    # It tries the template of volumes on every group; the group of qualitative findings follows TID 1501, as PS3.16
    # TID 1500 allows, and has no region of its own.
    "a group of TID 1501 held against TID 1411": re.compile(
        r'Template 1411 VolumetricROIMeasurements/\[Row 1\] CONTAINER \(125007,DCM,"Measurement Group"\)/\[Row \d+\] '
        r"(IMAGE|SCOORD|SCOORD3D) .*: Missing conditional content item"
    ),
}


def reports(folder: Path) -> Iterator[tuple[str, Path]]:
    """A report of every kind of result, as files."""
    for name, build in SETS.items():
        item = next(item for item in build().objects if item.role == "sr")
        path = folder / f"{name.replace(' ', '-')}.dcm"
        path.write_bytes(encode(item.dataset))
        yield name, path


def errors_of(report: Path) -> list[str]:
    """What the checker calls errors."""
    jars = ":".join(str(JARS / f"{library}.jar") for library in LIBRARIES)
    options = [f"-Djdk.xml.{limit}=0" for limit in LIMITS]
    command = ["java", *options, "-cp", jars, "com.pixelmed.validate.DicomSRValidator", report]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found = (done.stdout + done.stderr).splitlines()
    assert "Found Root Template TID_1500 (MeasurementReport)" in found, found
    assert "Root Template Validation Complete" in found, found
    return [line.removeprefix("Error: ") for line in found if line.startswith("Error")]


def main() -> int:
    """Check and tell."""
    if shutil.which("java") is None or not (JARS / "pixelmed.jar").exists():
        sys.exit("needs java and /usr/share/java/pixelmed.jar (Debian: default-jre-headless libpixelmed-java)")
    real = 0
    with tempfile.TemporaryDirectory() as folder:
        given = [(file, Path(file)) for file in sys.argv[1:]]
        for name, path in given or reports(Path(folder)):
            known: Counter[str] = Counter()
            for error in errors_of(path):
                alarm = next((words for words, pattern in FALSE_ALARMS.items() if pattern.fullmatch(error)), None)
                known[alarm or "ERROR"] += 1
                if alarm is None:
                    real += 1
                    print(f"{name}: {error}")
            print(f"{name}: {', '.join(f'{count} {words}' for words, count in sorted(known.items())) or 'nothing'}")
    return 1 if real else 0


if __name__ == "__main__":
    sys.exit(main())
