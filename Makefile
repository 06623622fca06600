# Two commands do everything, each with its own set-up: `make repro` and `make test`.
PYTHON ?= python3
# Relative, so that the path of the checkout may hold spaces and quotes.
VENV := .venv
BIN := $(VENV)/bin
DVC := $(BIN)/python -m dvc
# DVC runs the stages with the python of PATH. Threads that wait without spinning leave the cores to the others.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# In a container a user may have no home and no name; DVC and torch ask for both.
export HOME := $(or $(HOME),$(CURDIR)/work/home)
export USER := $(or $(USER),$(LOGNAME),user)
export DVC_NO_ANALYTICS := 1
export OMP_WAIT_POLICY := PASSIVE
# glibc keeps freed memory for what comes next: a sixth of a training step's time on a CPU (pipeline/core/stage.py, keep_memory).
export MALLOC_MMAP_MAX_ ?= 0
export MALLOC_TRIM_THRESHOLD_ ?= -1
export MALLOC_TOP_PAD_ ?= 67108864
# Compiled modules are kept: without them every stage would spend ten seconds compiling torch again.
unexport PYTHONDONTWRITEBYTECODE
# uv does not read pip's configuration: it is told where pip looks for wheels on disk.
export UV_FIND_LINKS ?= $(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null || echo $(PIP_FIND_LINKS))

# Stages that do not need each other run side by side, one thread each: on two cores that does half as much again as one stage
# after the other with two threads. A GPU takes one at a time. The last of the list go first: methods that learn for long stand
# there, and the short ones fill what is left. DVC gets short ones by threes, as it takes seconds to start. What fails here, the
# plain `dvc repro` runs again and reports.
JOBS ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo 1 || nproc)
STAGES := work/stages
side_by_side = -@grep -E '^($(1))@' $(STAGES) | sed -n '1!G;h;$$p' | xargs -r -P $(JOBS) -n $(2) $(DVC) --wait-for-lock repro --single-item

.PHONY: help repro together adopt reenact tables study demo test check rehearsal bench bench-gate weights clean
.DELETE_ON_ERROR:
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

repro: $(VENV)/ready  ## the whole pipeline; DATA=ci: on that data set; FOLDER=path: on your own videos (path/person/video.*)
	@$(BIN)/python -m stages.use $(if $(FOLDER),--folder "$(FOLDER)") $(if $(DATA),--dataset "$(DATA)")
	@$(DVC) status --quiet || $(MAKE) --no-print-directory together
	$(DVC) repro
	@$(BIN)/python -m stages.report --show

together:
	@mkdir -p work && $(DVC) stage list --name-only > $(STAGES)
	@grep '^split@' $(STAGES) | xargs $(DVC) repro
	$(call side_by_side,train|floors,1)
	$(call side_by_side,adapt,3)
	$(call side_by_side,score,3)

# Paths with spaces: use `python -m stages.reenact` itself, which has more options (docs/reenact.md).
reenact: $(VENV)/ready  ## SOURCE="a.jpg b.jpg" or a video, DRIVER=talk.mp4: an mp4 (OUT=), marked as synthetic; METHOD=ff SHOTS=8 VIEW=side CONSENT=yes
	OMP_NUM_THREADS=1 $(BIN)/python -m stages.reenact $(SOURCE) $(if $(DRIVER),--driver $(DRIVER)) $(if $(METHOD),--method $(METHOD)) \
	    $(if $(SHOTS),--shots $(SHOTS)) $(if $(VIEW),--view $(VIEW)) $(if $(OUT),--out $(OUT)) $(if $(filter yes,$(CONSENT)),--i-have-consent) $(MORE)

adopt: $(VENV)/ready  ## STAGE=train@voxceleb2-ft: says what of its code changed since it ran; after a yes its outputs are kept (YES=1)
	@$(BIN)/python -m stages.adopt "$(STAGE)" $(if $(YES),--yes)

tables: $(VENV)/ready  ## tables and claims anew from the stored per-frame results, offline
	OMP_NUM_THREADS=1 $(BIN)/python -m stages.tables

study: $(VENV)/study  ## USER: builds the trials of DATA (default: the data set in use) and serves them (docs/study.md)
	$(BIN)/python -m stages.study build $(if $(DATA),--dataset "$(DATA)")
	$(BIN)/python -m stages.study serve $(if $(DATA),--dataset "$(DATA)")

test: $(VENV)/tests  ## the tests
	$(BIN)/python -m pytest

check: $(VENV)/tests  ## ruff, mypy and the house rules
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_house.py

rehearsal: $(VENV)/tests  ## VoxCeleb1 and VoxCeleb2 in miniature, served from this machine, from fetch to report (a quarter of an hour)
	PYTHONPATH=.:tests $(BIN)/python tests/rehearsal.py

bench: $(VENV)/tests  ## the benchmarks
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-enable

BASE ?= main
bench-gate: $(VENV)/tests  ## is this checkout slower than BASE=main? SELECT='draw-*': those benchmarks; ALLOW=NAME: meant to be
	$(BIN)/python -m benchmarks.gate --base $(BASE) $(if $(SELECT),--select $(foreach one,$(SELECT),'$(one)')) $(if $(ALLOW),--allow $(ALLOW))

demo: $(VENV)/ready  ## after `make repro`: a page with three sliders, one person drawn by FF and FT from 1, 8 and 32 photos
	OMP_NUM_THREADS=1 $(BIN)/python -m stages.demo $(if $(DATA),--dataset "$(DATA)") --data data --models models --out demo
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ "$$(uname)" = Darwin ]; then \
	    $(BIN)/python -m webbrowser "file://$(CURDIR)/demo/index.html"; fi

weights: $(VENV)/ready  ## fetch the networks of the paper's metrics and losses into weights/ (optional)
	$(BIN)/python -m model.backbones --fetch

clean:  ## remove everything that was made here: outputs, DVC's cache, the environment; committed scores stay
	rm -rf data models report demo work .dvc/cache .dvc/tmp $(VENV) .ruff_cache .mypy_cache .benchmarks
	git clean -qfdX results

# pip is the contract; uv, when it installs, does the same five times faster. facenet-pytorch and anny go in without their pins.
install = @if $(BIN)/python -m pip install -q -c constraints.txt uv && \
    $(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt $(1); then :; else \
    echo "uv could not install; pip does it (slower)"; $(BIN)/python -m pip install -q -c constraints.txt $(2); fi

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(call install,-r pyproject.toml,-e .)
	$(call install,--no-deps facenet-pytorch anny,--no-deps facenet-pytorch anny)
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .  # `thb`; torch needs setuptools, so it is there
	@touch $@

$(VENV)/study: $(VENV)/ready
	$(call install,-r pyproject.toml --extra study,-e ".[study]")
	@touch $@

# face-alignment comes without its second OpenCV: the tests hold our 2DFAN-4 against it.
$(VENV)/tests: $(VENV)/ready
	$(call install,-r pyproject.toml --extra dev,-e ".[dev]")
	$(call install,--no-deps face-alignment numba llvmlite,--no-deps face-alignment numba llvmlite)
	@touch $@
