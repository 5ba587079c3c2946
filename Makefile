# The commands of this checkout. Each makes the virtual environment .venv first, when setup.py or pyproject.toml changed.

# The distribution's Python where it is new enough: hand-built ones often lack the optimizations, which cost 15 % of speed.
SYSTEM_PYTHON := /usr/bin/python3
PYTHON ?= $(shell $(SYSTEM_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    && echo $(SYSTEM_PYTHON) || echo python3)
TESTS ?= zmqrpc
# More than there are processors, since tests also wait: for what may not come, and for what expires.
JOBS ?= $(shell expr 2 + $$(nproc))
VENV := .venv
OSLO_BENCH := .venv-bench-oslo
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet
OSLO_NEWEST := .venv-oslo-newest
OSLO_OLDEST := .venv-oslo-oldest
DESCRIPTION := setup.py pyproject.toml zmqrpc/_version.py tools/make-venv

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test sim soak fault devstack oslo check format-check lint types docs share share-check package news bench
.PHONY: bench-oslo clean

help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

# Two stamps, since who only wants the demonstration need not wait for the tools of developers.
$(VENV)/.stamp: $(DESCRIPTION)
	@echo "Setting up $(VENV)"
	@tools/make-venv $(PYTHON) $(VENV)
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.stamp-dev: $(DESCRIPTION)
	@echo "Setting up $(VENV) with the tools of developers"
	@tools/make-venv $(PYTHON) $(VENV)
	@$(INSTALL) --editable '.[dev]'
	@touch $(VENV)/.stamp $@

$(VENV)/.stamp-bench: bench/requirements.txt $(VENV)/.stamp-dev
	@$(INSTALL) --requirement bench/requirements.txt
	@touch $@

demo: $(VENV)/.stamp  ## run two RPC servers and a client, and show what they answer
	@$(BIN)/python -m examples.demo.run

test: $(VENV)/.stamp-dev  ## run all tests (TESTS=zmqrpc.test.test_x for some), after installing the servers they need
	@tools/packages redis-server=redis-server redis-sentinel=redis-sentinel etcd=etcd-server nft=nftables \
		faketime=faketime ip=iproute2 systemd-analyze=systemd logrotate=logrotate zsh=zsh mandoc=mandoc
	@$(BIN)/python -m compileall -q zmqrpc examples twisted
	$(BIN)/python -m twisted.trial -j $(JOBS) $(TESTS)

sim: $(VENV)/.stamp-dev  ## run 10,000 simulated systems on bad days (SIM="--seeds 500 --from 7" for others)
	@$(BIN)/python -m zmqrpc.test.sim $(SIM)

soak: $(VENV)/.stamp-dev  ## run the tests that are storms for many minutes
	ZMQRPC_SOAK_SECONDS=300 ZMQRPC_FUZZ_SECONDS=300 ZMQRPC_CHURNS=500 ZMQRPC_FAULT_SECONDS=60 \
		$(BIN)/python -m twisted.trial \
		zmqrpc.test.integration.test_soak zmqrpc.test.integration.test_fuzz zmqrpc.test.sim.test_churn \
		zmqrpc.test.integration.test_faults

fault: $(VENV)/.stamp-dev  ## break systems of real processes in every way there is (ROWS=T1,T15 for some; FAULT=--help)
	@tools/packages redis-server=redis-server redis-sentinel=redis-sentinel faketime=faketime ip=iproute2 nft=nftables
	$(BIN)/python -m zmqrpc.test.fault --rows "$(ROWS)" $(FAULT)

devstack: $(VENV)/.stamp-dev  ## run the tests of the DevStack plugin with DevStack's own functions too (ZMQRPC_DEVSTACK=its checkout)
	@tools/packages redis-server=redis-server
	checkout=$$(tools/devstack $(VENV)/devstack) && ZMQRPC_DEVSTACK=$$checkout \
		$(BIN)/python -m twisted.trial -j $(JOBS) zmqrpc.test.devstack

# Of the oldest oslo.messaging that setup.py says is supported, and of the newest that there is today.
$(OSLO_OLDEST)/.stamp: $(DESCRIPTION)
	@echo "Setting up $(OSLO_OLDEST)"
	@tools/make-venv $(PYTHON) $(OSLO_OLDEST)
	@oldest=$$(sed -n 's/.*"oslo\.messaging>=\([0-9.]*\).*/\1/p' setup.py) && \
		$(OSLO_OLDEST)/bin/python -m pip install --quiet --editable '.[oslo,oslo-suite]' "oslo.messaging~=$$oldest.0"
	@touch $@

$(OSLO_NEWEST)/.stamp: $(DESCRIPTION)
	@echo "Setting up $(OSLO_NEWEST)"
	@tools/make-venv $(PYTHON) $(OSLO_NEWEST)
	@$(OSLO_NEWEST)/bin/python -m pip install --quiet --editable '.[oslo,oslo-suite]'
	@touch $@

oslo: $(OSLO_OLDEST)/.stamp $(OSLO_NEWEST)/.stamp  ## run oslo.messaging's own functional suite in every way (OSLO="--matchmaker redis" for some)
	@tools/packages redis-server=redis-server
	@$(OSLO_NEWEST)/bin/python -m pip install --quiet --upgrade oslo.messaging
	@status=0; \
		$(OSLO_NEWEST)/bin/python -m zmqrpc.test.oslo.suite --least 33 $(OSLO) || status=1; \
		$(OSLO_OLDEST)/bin/python -m zmqrpc.test.oslo.suite --least 32 $(OSLO) || status=1; \
		exit $$status

check: format-check lint types docs share-check package news  ## check format, lint, types, documentation, packaging and news

format-check: $(VENV)/.stamp-dev
	$(BIN)/ruff format --check --quiet --diff .

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .

types: $(VENV)/.stamp-dev
	$(BIN)/mypy

docs: $(VENV)/.stamp-dev  ## build the documentation into docs/_build/html
	$(BIN)/sphinx-build -q -E -W --keep-going -b html docs docs/_build/html

share: $(VENV)/.stamp-dev  ## write the manual page and the completions of zmqrpc into share/
	$(BIN)/python tools/write-share

share-check: $(VENV)/.stamp-dev
	$(BIN)/python tools/write-share --check

# Without isolation nothing is downloaded; the wheel is built from the unpacked sdist, so that also this is known to work.
package: $(VENV)/.stamp-dev
	rm -rf dist
	$(BIN)/python -m build --no-isolation . >$(VENV)/package.log 2>&1 || { cat $(VENV)/package.log; exit 1; }

news: $(VENV)/.stamp-dev
	tools/check-news

bench: $(VENV)/.stamp-bench  ## compare the speed with others, after installing what is compared
	@tools/packages nats-server=nats-server rabbitmq-server=rabbitmq-server epmd=erlang-base
	PATH="$$PATH:/usr/sbin" $(BIN)/python -m bench

# An environment of its own: what is measured is installed as services install it, with the extra `oslo`.
$(OSLO_BENCH)/.stamp: bench/oslo/requirements.txt $(DESCRIPTION)
	@echo "Setting up $(OSLO_BENCH)"
	@tools/make-venv $(PYTHON) $(OSLO_BENCH)
	@$(OSLO_BENCH)/bin/python -m pip install --quiet --editable '.[oslo]' --requirement bench/oslo/requirements.txt
	@touch $@

bench-oslo: $(OSLO_BENCH)/.stamp  ## compare the oslo.messaging driver with RabbitMQ (BENCH=--help), after installing both
	@tools/packages redis-server=redis-server rabbitmq-server=rabbitmq-server epmd=erlang-base
	PATH="$$PATH:/usr/sbin" $(OSLO_BENCH)/bin/python -m bench.oslo $(BENCH)

clean:  ## remove everything that these commands have made
	rm -rf $(VENV) build dist docs/_build zmqrpc.egg-info _trial_temp* .hypothesis .mypy_cache .ruff_cache .coverage*
	rm -rf $(OSLO_NEWEST) $(OSLO_OLDEST) $(OSLO_BENCH) bench/oslo/upstream
	find zmqrpc twisted examples bench docs \( -name __pycache__ -o -name dropin.cache \) -prune -exec rm -rf {} + \
		2>/dev/null || true
