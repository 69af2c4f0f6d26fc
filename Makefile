# The commands of the README. Each makes its own .venv from pinned constraints; nothing else is needed but
# Python ≥ 3.11 with venv, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
MODELS := UncertaintyGuidedI2I/Resources/Models
SAMPLES := UncertaintyGuidedI2I/Resources/SampleData
EXPERIMENTS := Testing/Experiments

.PHONY: demo test nightly gui lint benchmark fuzz pictures model model-mr models-mri clean

demo: $(VENV)/.demo  ## Translate the bundled sample; results in build/demo/
	$(BIN)/python Testing/Demo/demo.py --output build/demo

test: lint  ## Check style, types and behaviour; under 10 minutes on two cores
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

nightly: $(VENV)/.test  ## What trains for minutes to show that networks learn, several processes, and memory
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m nightly

gui: $(VENV)/.test  ## Open the module beside real slice views, in the test host instead of Slicer; needs a display
	PYTHONPATH=Testing $(BIN)/python -m Host

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=UncertaintyGuidedI2I $(BIN)/lint-imports --no-cache --no-logo

benchmark: $(VENV)/.test  ## Speed and memory of the engine beside a plain loop
	$(BIN)/python -m pytest Testing/Benchmarks --benchmark-only -o addopts= -s

fuzz: $(VENV)/.test  ## Damaged files, models, lines and runs for all that reads them; 15 minutes, findings in build/fuzz/
	$(BIN)/python Testing/Fuzz/fuzz.py --seconds 900 --seed 1

pictures: $(VENV)/.test  ## Draw the pictures in Documentation/ anew
	$(BIN)/python Testing/Pictures/architecture.py build/architecture.png
	$(BIN)/python Testing/Pictures/compress.py build/architecture.png Documentation/architecture.png
	$(BIN)/python Testing/Pictures/simulator.py Documentation/simulated_heads.png
	if [ -d "$${UPGAN_SHARED_DATA:-../shared/data}" ]; then $(BIN)/python Testing/Pictures/simulated_mr.py; fi
	$(BIN)/python Testing/Pictures/phases.py build/phases.png
	$(BIN)/python Testing/Pictures/compress.py build/phases.png Documentation/phases.png
	$(BIN)/python Testing/Pictures/samples.py
	$(BIN)/python Testing/Pictures/tasks.py build/tasks.png
	$(BIN)/python Testing/Pictures/compress.py build/tasks.png Resources/Screenshots/tasks.png
	$(BIN)/python Testing/Demo/demo.py --output build/demo
	$(BIN)/python Testing/Pictures/compress.py build/demo/views.png Resources/Screenshots/views.png
	$(BIN)/python Testing/Pictures/panels.py build/panels
	for panel in translate inspect check; do \
		$(BIN)/python Testing/Pictures/compress.py build/panels/$$panel.png Resources/Screenshots/$$panel.png; done
	for panel in comparison train; do \
		$(BIN)/python Testing/Pictures/compress.py build/panels/$$panel-1600x1000.png Resources/Screenshots/$$panel.png; done

model: $(VENV)/.test  ## Train the model from PET to pseudo-CT anew from nothing; an hour and a half on one core
	$(BIN)/upgan simulate pet-ct --subjects 118 --seed 2021 --output build/phantom-heads
	$(BIN)/python $(EXPERIMENTS)/pet-ct-phantom/sample.py build/phantom-heads $(SAMPLES)
	$(BIN)/python $(EXPERIMENTS)/pet-ct-phantom/table.py build/phantom-heads
	$(BIN)/upgan train $(EXPERIMENTS)/pet-ct-phantom/config.toml --output build/pet-ct-phantom
	$(call bundle,pet-ct-phantom,0.2.0,$(EXPERIMENTS)/pet-ct-phantom/remark.txt)

model-mr: $(VENV)/.test  ## Train the model from T1 to pseudo-CT anew from nothing; an hour and a quarter on one core
	$(BIN)/upgan simulate mr-ct --subjects 118 --seed 2021 --output build/mr-heads
	$(BIN)/python $(EXPERIMENTS)/mr-ct-phantom/sample.py build/mr-heads $(SAMPLES)
	$(BIN)/python $(EXPERIMENTS)/pet-ct-phantom/table.py build/mr-heads
	$(BIN)/upgan train $(EXPERIMENTS)/mr-ct-phantom/config.toml --output build/mr-ct-phantom
	$(call bundle,mr-ct-phantom,0.1.0,$(EXPERIMENTS)/mr-ct-phantom/remark.txt)

models-mri: $(VENV)/.test  ## Train the models of the MRI tasks on real heads, in the folder UPGAN_SHARED_DATA; five hours on one core
	$(BIN)/python $(EXPERIMENTS)/mri/sample.py "$(UPGAN_SHARED_DATA)" $(SAMPLES)
	$(BIN)/python $(EXPERIMENTS)/mri/table.py "$(UPGAN_SHARED_DATA)" build/mri-heads
	$(BIN)/upgan train $(EXPERIMENTS)/mri/undersampled.toml --output build/mri-undersampled
	$(call bundle,mri-undersampled,0.1.0,$(EXPERIMENTS)/mri/remark.txt)
	$(BIN)/upgan train $(EXPERIMENTS)/mri/motion.toml --output build/mri-motion

# A model of the run that has its name: version, and the file of the remark on its card.
define bundle
	rm -rf $(MODELS)/$(1)
	$(BIN)/upgan bundle create build/$(1) --checkpoint last --version $(2) --output $(MODELS)/$(1) \
		--licence LICENSE --remark "$$(cat $(3))"
endef

clean:
	rm -rf build $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; point PYTHON at one: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up $(VENV); the first time takes a few minutes"
	$(INSTALL) ".[slicer,report]"
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up $(VENV); the first time takes a few minutes"
	$(INSTALL) ".[test]"
	@touch $@ $(VENV)/.demo
