# Variables: HOST, PORT, DATA and ARGS of `make serve`; PYTHON, the Python to build .venv with.
HOST ?= 127.0.0.1
PORT ?= 3060
DATA ?= ./data
# Variables of `make soak`: ROUNDS of each test, SEED.
ROUNDS ?= 200

.PHONY: serve install test soak flood sections check audit docs dist bench lock clean

serve: install
	@exec .venv/bin/loom serve --host $(HOST) --port $(PORT) --data $(DATA) $(ARGS)

install:
	@scripts/install run

test:
	@scripts/test

soak:
	@scripts/soak $(ROUNDS) $(SEED)

flood:
	@scripts/flood

# Finds the sections and the errors of a stream of 2 GiB on the page; `make test` does so with 64 MiB.
sections:
	@scripts/install test
	@LOOM_SECTIONS_MIB=2048 .venv/bin/python -m pytest -q tests/page/test_sections.py -k large

check:
	@scripts/check

audit:
	@scripts/audit

docs:
	@scripts/docs

# Builds wheel and sdist into dist/.
dist:
	@scripts/dist

bench:
	@scripts/bench

lock:
	@scripts/lock

clean:
	@scripts/clean
