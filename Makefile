# Python 3.11 or newer and make are all the set-up there is. `make` alone lists what can be made.
#   make demo DATA=cifar10                 the same on another data set, or on a folder of photographs
#   make demo ENCODER=resnet18             with another encoder, see `colourgan list encoders`
#   make demo PYTHON=/usr/bin/python3.12   with the Python of your choice
#   make bench BENCH="--only gan/resnet20" some of its pairs, see `python bench/speed.py --help`

SHELL := bash
PYTHON :=
BIN := .venv/bin
# Its age says whether the requirements have changed since they were installed.
INSTALLED := .venv/installed

DATA := sample
ENCODER := efficientnet_lite0
ifeq ($(DATA),sample)
DEMO := demo
SIZE := 96
PRETRAIN := --epochs 5
FINETUNE := --epochs 2
else
DEMO := demo-$(notdir $(patsubst %/,%,$(DATA)))
SIZE := $(or $(patsubst cifar10,32,$(filter cifar10,$(DATA))),64)
PRETRAIN := --epochs 5 --limit 8000
FINETUNE := --epochs 2
endif
BENCH :=
MADE := $(addprefix $(DEMO)/,photos colorized colorized.png pretrain gan evaluation)

.PHONY: help demo test bench lint install clean

help:
	@echo "make demo    train, sharpen, evaluate and use a colorizer, in some minutes (DATA=sample)"
	@echo "make test    all tests, offline"
	@echo "make bench   how much faster training is here than with a plain loop, 15 to 30 minutes"
	@echo "make lint    the style of the code"
	@echo "make install only what the others begin with: .venv and all that colourgan needs"
	@echo "make clean   remove .venv, the demo folders and caches"

install: $(INSTALLED)

define SHIPPED_PHOTOS
from importlib.resources import files; from shutil import copy
photos = {"skimage": ["data/astronaut.png", "data/chelsea.png", "data/coffee.png"], \
    "sklearn": ["datasets/images/china.jpg", "datasets/images/flower.jpg"], \
    "matplotlib": ["mpl-data/sample_data/grace_hopper.jpg"]}
for library, names in photos.items(): [copy(files(library) / name, "$(DEMO)/photos") for name in names]
endef
export SHIPPED_PHOTOS

demo: $(INSTALLED)
	@rm -rf $(MADE)
	@mkdir -p $(DEMO)/photos
	@$(BIN)/python -c "$$SHIPPED_PHOTOS"
	$(BIN)/colourgan colorize $(DEMO)/photos --out $(DEMO)/colorized --sheet $(DEMO)/colorized.png
	$(BIN)/colourgan pretrain --encoder $(ENCODER) --data $(DATA) --size $(SIZE) $(PRETRAIN) \
		--reconstruction bins --decoder-channels 64 --out $(DEMO)/pretrain
	$(BIN)/colourgan gan-finetune $(DEMO)/pretrain $(FINETUNE) --out $(DEMO)/gan
	$(BIN)/colourgan evaluate packaged $(DEMO)/pretrain $(DEMO)/gan --data $(DATA) --size $(SIZE) \
		--limit 1000 --out $(DEMO)/evaluation
	@echo
	@echo "$(DEMO)/colorized.png               whole photographs, by the model in the package: grey, colored"
	@echo "$(DEMO)/colorized/                  the same in full size"
	@echo "$(DEMO)/evaluation/evaluation.txt   the table above: test images no training has seen"
	@echo "$(DEMO)/evaluation/evaluation.png   some of them: grey, packaged, trained here, with GAN, true"
	@echo "$(DEMO)/evaluation/deciles.png      others, from the best to the worst"
	@echo "$(DEMO)/{pretrain,gan}/loss.png     how the training went; samples/ beside it, each epoch"
	@echo "Your own: $(BIN)/colourgan colorize PHOTO"

# A home of their own, and a proxy that nobody answers at: no test can touch yours, or the network.
# The files of tests are spread over the cores, each file on one, as its tests share what they train.
test: $(INSTALLED)
	@home=$$(mktemp -d) && trap 'rm -rf "$$home"' EXIT && env -u COLUMNS \
		HOME="$$home" XDG_CACHE_HOME="$$home/.cache" XDG_CONFIG_HOME="$$home/.config" \
		FASTAI_HOME="$$home/fastai" COLOURGAN_CACHE="$$home/colourgan" TORCH_HOME="$$home/torch" \
		HF_HOME="$$home/huggingface" HF_HUB_OFFLINE=1 IPYTHONDIR="$$home/ipython" \
		MPLCONFIGDIR="$$home/matplotlib" MPLBACKEND=Agg \
		http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 all_proxy=http://127.0.0.1:9 \
		no_proxy=127.0.0.1,localhost \
		OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

# Exit code 1 where a ratio is under its bar.
bench: $(INSTALLED)
	@$(BIN)/python bench/speed.py $(BENCH)

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

clean:
	rm -rf .venv demo demo-* build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

SUITABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))

$(INSTALLED): setup.cfg pyproject.toml
	@$(BIN)/python -m ensurepip >/dev/null 2>&1 || { \
		for python in $(or $(PYTHON),python3.11 python3); do \
			"$$python" -c "$(SUITABLE)" 2>/dev/null && break || python=; \
		done; \
		if [ -z "$$python" ]; then \
			echo "colourgan needs Python 3.11 or newer, with its venv module (on Debian and" \
				"Ubuntu: apt install python3.11-venv); name it by PYTHON=/path/to/python" >&2; \
			exit 1; \
		fi; \
		echo "making .venv with $$("$$python" --version)"; \
		"$$python" -m venv --clear .venv; }
	@echo "installing, about 6 GB with PyTorch for GPUs: this takes some minutes the first time"
	@set -o pipefail; $(BIN)/python -m pip install -e '.[dev]' 2>&1 | tee .venv/install.log | \
		{ grep --line-buffered -oE '(Downloading|Using cached) .*\([0-9.]+ [MG]B\)|^ERROR.*' \
		|| true; } || { tail -n 20 .venv/install.log >&2; exit 1; }
	@touch $@
