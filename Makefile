# The commands of the README. Each makes its own .venv from pinned constraints; nothing else is needed but
# Python ≥ 3.11 with venv, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
MODEL := UncertaintyGuidedI2I/Resources/Models/pet-ct-phantom
EXPERIMENT := Testing/Experiments/pet-ct-phantom

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
	$(BIN)/python Testing/Demo/demo.py --output build/demo
	$(BIN)/python Testing/Pictures/compress.py build/demo/views.png Resources/Screenshots/views.png
	$(BIN)/python Testing/Pictures/panels.py build/panels
	for panel in translate inspect check; do \
		$(BIN)/python Testing/Pictures/compress.py build/panels/$$panel.png Resources/Screenshots/$$panel.png; done
	for panel in comparison train; do \
		$(BIN)/python Testing/Pictures/compress.py build/panels/$$panel-1600x1000.png Resources/Screenshots/$$panel.png; done

model: $(VENV)/.test  ## Train the bundled model anew from nothing; an hour and a half on one core
	$(BIN)/upgan simulate pet-ct --subjects 118 --seed 2021 --output build/phantom-heads
	$(BIN)/python $(EXPERIMENT)/sample.py build/phantom-heads UncertaintyGuidedI2I/Resources/SampleData
	$(BIN)/python $(EXPERIMENT)/table.py build/phantom-heads
	$(BIN)/upgan train $(EXPERIMENT)/config.toml --output build/pet-ct-phantom
	rm -rf $(MODEL)
	$(BIN)/upgan bundle create build/pet-ct-phantom --checkpoint last --version 0.2.0 --output $(MODEL) \
		--licence LICENSE --remark "$$(cat $(EXPERIMENT)/remark.txt)"

model-mr: $(VENV)/.test  ## Train the model from T1 to pseudo-CT anew from nothing; an hour on one core
	$(BIN)/upgan simulate mr-ct --subjects 118 --seed 2021 --output build/mr-heads
	$(BIN)/python Testing/Experiments/mr-ct-phantom/sample.py build/mr-heads UncertaintyGuidedI2I/Resources/SampleData
	$(BIN)/python $(EXPERIMENT)/table.py build/mr-heads
	$(BIN)/upgan train Testing/Experiments/mr-ct-phantom/config.toml --output build/mr-ct-phantom

models-mri: $(VENV)/.test  ## Train both models of the MRI tasks on real heads, in the folder UPGAN_SHARED_DATA; two hours on one core
	$(BIN)/python Testing/Experiments/mri/sample.py "$(UPGAN_SHARED_DATA)" UncertaintyGuidedI2I/Resources/SampleData
	$(BIN)/python Testing/Experiments/mri/table.py "$(UPGAN_SHARED_DATA)" build/mri-heads
	$(BIN)/upgan train Testing/Experiments/mri/undersampled.toml --output build/mri-undersampled
	$(BIN)/upgan train Testing/Experiments/mri/motion.toml --output build/mri-motion

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
