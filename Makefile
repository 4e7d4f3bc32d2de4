# What a contributor needs, in five targets; CONTRIBUTING.md explains them.
TESTS ?= tests

.PHONY: setup test lint docs ci

setup:
	pip install -e '.[dev]'
	pre-commit install

test:
	pytest -n logical $(TESTS)

lint:
	ruff check .
	ruff format --check .
	pyright
	pyright --project export/pyrightconfig.json
	pyright --project app/pyrightconfig.json
	deptry --config pyproject.toml simsiam_retrieval app export

docs:
	mkdocs build --strict

ci:
	.ci/run
