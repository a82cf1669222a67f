PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
QUIETLY := -m pip -qq --disable-pip-version-check
# What a build requires is held too; pip before 25.3 reads the first name for it, later ones the second.
PIP := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/python $(QUIETLY)

# Stamps: the package alone is enough for `make demo`, everything else also needs the dev tools.
PACKAGE := $(VENV)/.package
TOOLS := $(VENV)/.tools

# pip learnt `--group` only in 25.1, so the group is read out of pyproject.toml, where it is said once.
DEV_GROUP := import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"]))

# Compiled files are kept, whatever the environment says: else every process compiles package and tests anew.
export PYTHONDONTWRITEBYTECODE :=

# Two processes; tests that share what takes long to make run in one of them, the longest first (tests/groups.py).
WORKERS := -n 2 --dist loadgroup --no-loadscope-reorder

# What a version of transformers or torch can break.
MOVING := tests/families tests/equivalence/test_generation.py tests/equivalence/test_carried_states.py \
	tests/equivalence/test_engine.py tests/equivalence/test_vision.py tests/unit/test_restoration.py
# torch's wheels on PyPI before 2.13 bring 2.5 GB of CUDA along: `make oldest TORCH=2.6.0` where that is wanted.
TORCH ?= 2.13.0
LOWEST := import re; print(re.search(r"transformers>=([\d.]+)", open("pyproject.toml").read())[1])
# Our own warning of an untested version is expected there; every other one is an error as always.
AGAINST := -m pytest $(WORKERS) -W "default:patchclamp was tested with" $(MOVING)
VERSIONS := import sys, torch, transformers as t; print(f"python {sys.version.split()[0]}, torch {torch.__version__}, transformers {t.__version__}")

# `make demo SERVE=0` ends without serving the atlas.
SERVE ?= 1

DEMO := "When Mary and John went to the store, John gave a drink to"

.DEFAULT_GOAL := help
.PHONY: help demo test quick test-shapes check format families calibrate soak newest oldest pictures bench gpu

help: ## this menu
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

demo: $(PACKAGE) ## install into .venv if need be, explain two answers, clamp a neuron, bake and serve an atlas
	$(BIN)/patchclamp explain organism:mover-gpt2 $(DEMO) --target " Mary" --contrast " John" --top 4 \
		--report demo-report.html
	$(BIN)/patchclamp generate organism:mover-gpt2 $(DEMO) --clamp 'blocks.0.mlp.act/neurons/9=0' --max-new-tokens 2
	$(BIN)/patchclamp organism text language-gpt2 --n 600 --labels > demo-text.jsonl
	rm -rf demo.atlas demo.atlas.baking
	$(BIN)/patchclamp atlas bake organism:language-gpt2 --inputs demo-text.jsonl --out demo.atlas
	$(BIN)/patchclamp explain organism:language-gpt2 "Mary and Tom went to the park. Tom gave a book to" \
		--target " Mary" --contrast " Tom" --counterpart "Mary and Tom went to the park. Mary gave a book to" --top 8 \
		--atlas demo.atlas
	$(if $(filter 0,$(SERVE)),,$(BIN)/patchclamp atlas serve demo.atlas --model organism:language-gpt2)

test: $(TOOLS) ## install into .venv if need be, then run every test
	$(BIN)/pytest $(WORKERS)

quick: $(TOOLS) ## the tests that bake, train and serve nothing: at most a minute
	$(BIN)/pytest $(WORKERS) -q tests/meta tests/property tests/unit

# Checking shapes takes more than half of these tests' time, so that `make test` goes without. Of a test's cases
# `test-shapes` takes as many as show every value of every parameter, of families and organisms one; `soak` takes all.
SHAPES := $(WORKERS) -q --jaxtyping-packages=patchclamp,beartype.beartype

test-shapes: $(TOOLS) ## equivalence tests with every array's shape and type checked; `make soak` checks all tests so
	PATCHCLAMP_THIN=1 $(BIN)/pytest $(SHAPES) tests/equivalence

check: $(TOOLS) ## format, lint, types, layers, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/meta

format: $(TOOLS) ## rewrite the sources as `make check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

families: $(TOOLS) ## every test of families on every one, and rewrite the table that `patchclamp info --families` prints
	PATCHCLAMP_FAMILIES=1 PATCHCLAMP_REWRITE=1 $(BIN)/pytest -n 0 -q tests/families tests/equivalence/test_edges.py \
		tests/equivalence/test_carried_states.py

# `make calibrate CARDS=attribute/relp` runs one card and keeps what is stored of the others.
CARDS ?=

calibrate: $(TOOLS) ## run every method on every organism that its card names, and keep its figures and its tier
	$(BIN)/python -m patchclamp.calibrate tests $(CARDS)
	PATCHCLAMP_REWRITE=1 $(BIN)/pytest -n 0 -q tests/conformance \
		$(if $(CARDS),-k "index_is or pages_are$(foreach card,$(CARDS), or $(card))")

soak: $(TOOLS) ## the repeated tests at their long counts
	PATCHCLAMP_SOAK=1 $(BIN)/pytest $(WORKERS) -m soak
	$(BIN)/pytest $(SHAPES)

newest: ## families, generation and attention against the newest transformers, in .venv-newest
	test -x .venv-newest/bin/pip || $(PYTHON) -m venv .venv-newest
	@$(PYTHON) -c '$(DEV_GROUP)' > .venv-newest/tools.txt
	sed '/^transformers==/d; /^tokenizers==/d; /^huggingface_hub==/d' constraints.txt > .venv-newest/constraints.txt
	.venv-newest/bin/python $(QUIETLY) install -c .venv-newest/constraints.txt -e . -r .venv-newest/tools.txt
	.venv-newest/bin/python $(QUIETLY) install --upgrade -c .venv-newest/constraints.txt transformers
	@.venv-newest/bin/python -c '$(VERSIONS)'
	.venv-newest/bin/python $(AGAINST)

oldest: ## the same against the lowest transformers that is promised, in .venv-oldest
	test -x .venv-oldest/bin/pip || $(PYTHON) -m venv .venv-oldest
	@$(PYTHON) -c '$(DEV_GROUP)' > .venv-oldest/tools.txt
	sed '/^torch==/d; /^transformers==/d; /^tokenizers==/d; /^huggingface_hub==/d; /^sympy==/d' constraints.txt \
		> .venv-oldest/constraints.txt
	.venv-oldest/bin/python $(QUIETLY) install -c .venv-oldest/constraints.txt -e . -r .venv-oldest/tools.txt \
		torch==$(TORCH) transformers==$$($(PYTHON) -c '$(LOWEST)')
	@.venv-oldest/bin/python -c '$(VERSIONS)'
	.venv-oldest/bin/python $(AGAINST)

pictures: $(TOOLS) ## make the README's pictures anew
	PATCHCLAMP_PICTURES=docs/pictures $(BIN)/pytest -n 0 tests/browser/test_path.py

bench: $(PACKAGE) ## run every script in benchmarks/
	@set -e; for script in $(wildcard benchmarks/*.py); do echo "== $$script"; $(BIN)/python "$$script"; done

gpu: $(PACKAGE) ## every family and a Llama of 8 billion weights on a GPU; without one, a hundredth on the processor
	$(BIN)/python benchmarks/gpu.py

$(PACKAGE): pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(TOOLS): $(PACKAGE)
	@$(BIN)/python -c '$(DEV_GROUP)' > $(VENV)/tools.txt
	$(PIP) install -c constraints.txt -r $(VENV)/tools.txt
	@touch $@
