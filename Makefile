# `make` alone prints this help.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help

help: ## show what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 14

TRANSLATED := web/translations/en/LC_MESSAGES/messages
ROOMS := kernel people finance voucher catalog voices orders web

.venv/.installed: requirements.lock pyproject.toml
	@echo "Installing into .venv: one to three minutes the first time."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(TRANSLATED).mo: $(TRANSLATED).po .venv/.installed
	$(BIN)/pybabel -q compile --statistics -i $< -o $@ -l en

setup: .venv/.installed $(TRANSLATED).mo ## create .venv with the locked dependencies

demo: setup ## load the demonstration campaign once and serve it on 127.0.0.1:8000 (PORT)
	$(BIN)/huigong demo

run: setup ## serve on DATABASE_URL, no demonstration data
	$(BIN)/huigong serve

check: setup ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: setup ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

chromium: ## install Chromium for the browser journeys where it can be
	@sh tests/install_chromium.sh

test: setup check chromium ## everything: check, both engines, browser journeys
	HUIGONG_REQUIRE_ALL=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

axe: setup chromium ## look at every page with axe-core, in every seat, language and look (several minutes)
	HUIGONG_AXE=all $(BIN)/python -m pytest tests/house/test_axe.py

lighthouse: setup chromium ## Lighthouse over the five main pages, at least 95 in each category (needs node; a few minutes)
	$(BIN)/python -m tests.lighthouse

torture: setup ## buy while everything is killed, then prove what was told (TORTURE_SECONDS 300, TORTURE_CLIENTS 200, TORTURE_SEED)
	$(BIN)/python -m tests.torture.run

bench: setup ## measure orders, the rush, the issue, a roster and looking, each against its limit (about 15 minutes)
	$(BIN)/python -m benchmarks.bench

growth: setup ## measure at 10,000, 500,000 and 5,000,000 orders and explain every list (an hour, 40 GB of disk)
	$(BIN)/python -m benchmarks.growth

workers: setup ## measure which kind and number of gunicorn workers serve best here (about 8 minutes)
	$(BIN)/python -m benchmarks.workers

hosts: setup ## what is tried past one machine: two hosts, PgBouncer, a replica; then the tests through PgBouncer
	test -x /usr/sbin/pgbouncer || command -v pgbouncer || { echo "install pgbouncer"; exit 1; }
	$(BIN)/python -m pytest -n 0 tests/house/test_many_hosts.py
	HUIGONG_TEST_PGBOUNCER=1 $(BIN)/python -m pytest -n 2 --dist loadscope -k postgresql tests

advisories: setup ## look the locked dependencies up among known vulnerabilities; fails where one could not be looked up
	$(BIN)/uvx pip-audit --strict --require-hashes --disable-pip -r requirements.lock

lock: setup ## write requirements.lock again from pyproject.toml
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --extra dev --no-header pyproject.toml -o requirements.lock

pictures: setup chromium ## take the guides' pictures again (docs/guides/pictures), from a demonstration of their own
	$(BIN)/python -m tests.guides.pictures

translations: setup ## gather the texts to translate into web/translations
	$(BIN)/pybabel -q extract -F babel.cfg --no-location --omit-header --no-wrap --sort-output -o web/translations/messages.pot $(ROOMS)
	$(BIN)/pybabel -q update -N --ignore-obsolete --no-wrap --ignore-pot-creation-date -i web/translations/messages.pot -d web/translations -l en
	rm web/translations/messages.pot

migration: setup ## write a migration: make migration m="what changes"
	$(BIN)/flask --app wsgi db revision --autogenerate -m "$(m)"

previous-release:  ## pack the code of release REF, beside which the next one must work (tests/house/test_rolling.py)
	git archive $(REF) $(ROOMS) migrations wsgi.py tests/factories.py ':!web/static' ':!web/translations' | xz -9 > tests/data/previous-release.tar.xz

.PHONY: help setup demo run check fix chromium test axe lighthouse torture bench growth workers hosts advisories lock pictures translations migration previous-release
