# One command in three places: what a contributor, the hook and CI run is the same target.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# `make test TORCH_INDEX=https://download.pytorch.org/whl/cpu` saves gigabytes on a machine without a GPU.
PIP_INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX),)

# Without what they depend on: grad-cam asks for opencv-python-headless, which overwrites opencv-python.
PEERS := grad-cam==1.5.7 ttach==0.0.3

# The theme announces its successor at every build.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs

.PHONY: setup demo test browser check docs format bench torture bench-real clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'lpcam needs Python 3.11 or newer: make PYTHON=python3.12 …')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_INDEX) --editable '.[dev,bench]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(PEERS)
	@# The dense CRF is compiled when it is installed; without a compiler its tests are skipped.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pydensecrf2>=1.1' || echo 'no dense CRF here: install g++ for it'
	touch $@

demo: setup
	$(BIN)/lpcam demo

# One thread a process: two processes of two threads each wait for one another. Compiled modules are kept, because many
# tests start lpcam anew.
test: setup browser
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --dist loadfile

# The page's tests drive Debian's Chromium; without it they are skipped. Only CI, where nobody can be asked, installs it.
browser:
	@if [ -n "$$CI" ] && [ -z "$$(command -v chromium)" ] && [ -n "$$(command -v apt-get)" ]; then \
		(apt-get update && apt-get install --yes --no-install-recommends chromium) > /dev/null \
		|| echo 'no Chromium could be installed: the tests of the page are skipped'; \
	fi

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MKDOCS) build --strict --quiet

# The site: site/index.html opens from disk.
docs: setup
	$(MKDOCS) build --strict
	@echo 'the site: site/index.html'

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# benchmarks/README.md says how long it takes; `make bench-real` needs the photos and takes hours.
bench: setup
	for name in startup map_stage propagation kmeans_speed generate_speed memory peers cost; do \
		$(BIN)/python -m benchmarks.$$name || exit 1; \
	done
	$(BIN)/python -m benchmarks.tables
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.plots

# A run killed at fifty instants, one whose every write is refused once, two at once: every byte is that of one alone.
torture: setup
	$(BIN)/python -m tests.torture.killing --kills 50
	$(BIN)/python -m tests.torture.failing
	$(BIN)/python -m tests.torture.racing
	$(BIN)/python -m tests.torture.fuzzing --inputs 20000 --seed 1

bench-real: setup
	$(BIN)/python -m benchmarks.real_photos
	$(BIN)/python -m benchmarks.localisation
	$(BIN)/python -m benchmarks.ablation
	$(BIN)/python -m benchmarks.tables
	$(BIN)/python -m benchmarks.plots

clean:
	rm -rf $(VENV) build site *.egg-info lpcam_work lpcam_demo .mypy_cache .ruff_cache .pytest_cache
