"""One target under atheris: ``python one.py TARGET CORPUS [libFuzzer options]``, in the environment that has it.

The code that reads foreign bytes is instrumented: ours and the DICOM libraries. The kernels are compiled code.
"""

import logging
import sys
import warnings

import atheris

_INSTRUMENTED = ("node", "sr_templates", "pydicom", "pynetdicom")


def main() -> None:
    """Fuzz until the options say stop; the process ends with the first finding."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=list(_INSTRUMENTED)):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[sys.argv[1]]
    target.run(b"")  # what is loaded on first use is loaded
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
