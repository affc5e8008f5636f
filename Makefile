# Every target sets itself up: Python 3.11+, make and the package registries are all that is assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# More than cores: tests of whole nodes wait much.
WORKERS ?= 3
# Processes fill the cores already: threads of the linear algebra would only wait for each other, which takes a tenth of the time.
PYTEST := OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: help install demo test test-long check warm audit serve bench bench-fit fuzz fuzz-coverage header-defects crash soak several-hosts throughput hostile pixelmed lock peers install-check image-check alerts-check guide-commands release conformance docs clean

help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(STAMP): requirements.lock requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

install: $(STAMP)  ## the virtual environment with locked dependencies

peers:           ## DCMTK, dicom3tools, Orthanc, Chromium, promtool and PostgreSQL for the tests (Debian packages; needs root or sudo)
	deploy/install-test-peers

demo: $(STAMP)   ## the whole way on this machine: scanner push, maps and report back
	$(BIN)/ironnode demo --out demo-out

test: $(STAMP)   ## format, lint, types and tests
	$(MAKE) --no-print-directory -j 3 peers check warm
	$(PYTEST) --durations 25

test-long: $(STAMP)  ## further values of what the tests show at others (minutes)
	$(MAKE) --no-print-directory -j 3 peers warm
	$(PYTEST) -m further

check: $(STAMP)  ## format, lint and strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

warm: $(STAMP)   ## the compiled kernels in their cache, so that no test or run waits for a compiler
	printf '%s\n' magnitude complex liver | xargs -P 2 -n 1 $(BIN)/python -m quant.warm

audit:           ## known vulnerabilities of the locked dependencies; says so when nobody can be asked (REQUIRED=1: an error)
	$(PYTHON) deploy/checks/audit.py --work build/audit-venv $(if $(REQUIRED),--required) requirements.lock requirements-dev.lock

serve: $(STAMP)  ## the node, with config.yaml when there is one
	$(BIN)/ironnode serve $(if $(wildcard config.yaml),--config config.yaml)

bench: $(STAMP)  ## timings as ratios, with the machine recorded (bench/README.md)
	$(BIN)/python -m bench

bench-fit: $(STAMP)  ## tables of the R2* fits beside scipy, ukat and mri-fatwater (long)
	$(BIN)/python -m bench.fit.fatwater_install
	for part in accuracy noise speed complex_accuracy complex_swaps complex_speed; do $(BIN)/python -m bench.fit.$$part || exit 1; done
	$(BIN)/python -m bench.acquisition

fuzz: $(STAMP)   ## thousands of header edits: a result or a refusal, no number that moves unsaid
	$(BIN)/python -W ignore -m bench.fuzz_headers --edits $(or $(EDITS),4000)
	$(BIN)/python -W ignore -m bench.fuzz_pipeline --edits $(or $(PIPELINE_EDITS),400)

fuzz-coverage: $(STAMP)  ## coverage-guided fuzzing of all that reads foreign bytes, each target for SECONDS= (docs/fuzzing.md)
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),300)

header-defects: $(STAMP)  ## header defects of real senders, alone and in pairs, through to checked objects (PAIRS=; all take an hour)
	$(BIN)/python -W ignore -m bench.header_defects $(if $(PAIRS),--pairs $(PAIRS))

install-check:   ## the guides' commands on an empty Debian root, booted, up to a delivered report (root; minutes)
	rm -rf build/install-check && $(PYTHON) deploy/checks/install_check.py --work build/install-check

guide-commands: warm  ## every command of the guides that need no machine of their own (minutes)
	rm -rf build/guide-commands && $(BIN)/python deploy/checks/guide_commands.py --work build/guide-commands docs/operations.md docs/validation.md docs/translating.md deploy/compose/README.md

alerts-check: warm peers  ## an outage of a real node, watched by a real Prometheus: which alerts fire (minutes)
	rm -rf build/alerts-check && $(BIN)/python deploy/checks/alerts_check.py --work build/alerts-check --ironnode $(BIN)/ironnode

image-check:     ## the Dockerfile's steps in empty Debian roots, and the node from them (root; minutes)
	rm -rf build/image-check && $(PYTHON) deploy/checks/image_check.py --work build/image-check

release:         ## the archive that docs/installation.md unpacks
	mkdir -p dist && git archive --prefix=ironnode/ --output dist/ironnode.tar.gz HEAD

crash: warm peers  ## kills, full disks and bad destinations while acquisitions flow: what was lost (ACQUISITIONS= KILLS= SEED= MINUTES=)
	$(BIN)/python -m tests.crash --acquisitions $(or $(ACQUISITIONS),200) --kills $(or $(KILLS),50) $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

soak: warm peers  ## an hour of steady work: are memory, threads and descriptors flat? (MINUTES=; docs/soak.md)
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60)

several-hosts: warm peers  ## kill or cut off gateways, workers, database, archive as hosts of their own (root; SEED= MINUTES=)
	$(BIN)/python -m tests.several_hosts --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

throughput: warm peers  ## acquisitions an hour with 1, 2 and 4 workers, disk of each (root)
	$(BIN)/python -m tests.several_hosts --workers 1 2 4 --throughput $(or $(ACQUISITIONS),30)
	$(BIN)/python -m tests.several_hosts --workers 1 2 4 --throughput $(or $(ACQUISITIONS),30) --waiting

hostile: $(STAMP)  ## hostile peers against ours, DCMTK, Orthanc and pynetdicom; writes docs/hostile-peers.md (10 minutes)
	$(BIN)/python -m bench.hostile

pixelmed: $(STAMP)  ## PixelMed's checker of TID 1500 on a report of every kind (needs Java and libpixelmed-java; 8 minutes)
	$(BIN)/python -m tests.sr_templates.pixelmed

conformance: $(STAMP)  ## the tables of docs/conformance.md from the code
	$(BIN)/python -m docs.conformance_tables

docs: $(STAMP)   ## the documents as pages in build/docs; a link that leads nowhere is an error
	$(BIN)/sphinx-build --quiet --fail-on-warning -c docs . build/docs

lock:            ## renew the lock files
	$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet uv
	.venv-lock/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 --extra postgres --extra onnx -o requirements.lock pyproject.toml
	.venv-lock/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 --extra postgres --extra onnx --group dev -c requirements.lock -o requirements-dev.lock pyproject.toml
	.venv-lock/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 --group build -c requirements-dev.lock -o requirements-build.lock
	rm -r .venv-lock

clean:           ## everything that was built
	rm -rf $(VENV) demo-out build dist *.egg-info
