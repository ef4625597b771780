# Two commands for a fresh machine: `make demo` and `make test`. Both rest on `make install`.
PYTHON ?= python3
BIN := .venv/bin
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help install demo test thorough docs model crashes torture torture-briefly bench-checkpoints bench-runs bench-stream \
	bench-search bench-intake bench-cold fuzz e2e lint \
	format synth openapi schemas lock wheel clean

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

install: ## make .venv in the checkout with every dependency, as locked
	@$(PYTHON) .ci/install.py

demo: install ## run the example crews on the local cloud and show what came out
	@$(BIN)/python -m crewline.local.demo

test: install ## run the tests, in parallel
	@$(BIN)/pytest -q -n 3 --dist loadscope --no-loadscope-reorder -m 'not thorough'

thorough: install ## run the tests that take long: processes that stop anywhere, what layers hold, crowds, examples of CDK apps
	@$(BIN)/pytest -q -n 3 --dist loadscope --no-loadscope-reorder -m thorough

model: install ## explore the lease protocol exhaustively, print plans, states and seconds (minutes)
	@$(BIN)/python -m tests.faults.explore

torture: install ## kill workers, fail calls and skew clocks under 3000 runs, then check the whole history (15 minutes)
	@$(BIN)/python -m tests.faults.torture --runs 3000 --seconds 660

torture-briefly: install ## the same for two minutes
	@$(BIN)/python -m tests.faults.torture --runs 700 --seconds 90

crashes: install ## stop processes before and after every request, and lose its answer (many minutes)
	@$(BIN)/python -m tests.faults.crashes

fuzz: install ## try every operation of the API with generated data, by its own OpenAPI document (minutes)
	@$(BIN)/python -m tests.fuzz

e2e: install ## deploy the real stack to the local cloud with the CDK, use, update and destroy it (minutes; needs Node)
	@$(BIN)/python -m tests.e2e.deployed $(if $(CONFORMANCE),--conformance $(CONFORMANCE))

bench-checkpoints: install ## print what checkpoints cost, beside another saver and the floor (minutes)
	@$(BIN)/python -m benchmarks.checkpoints

bench-runs: install ## print what a run costs, beside two other servers, and trace its requests (minutes)
	@$(BIN)/python -m benchmarks.runs

bench-stream: install ## print how fast and dear streams are, beside another server, and 100 at once (minutes)
	@$(BIN)/python -m benchmarks.streams

bench-search: install ## print what thread searches read, at 1,000 and at 100,000 threads (minutes)
	@$(BIN)/python -m benchmarks.searches

bench-intake: install ## print what messages that become runs cost, with repeated and bad ones among 10,000 (minutes)
	@$(BIN)/python -m benchmarks.intake

bench-cold: install ## print what cold starts cost, from the zips that a deploy uploads (needs Node and Python 3.13)
	@$(BIN)/python -m benchmarks.cold

docs: install ## build the docs as a site into dist/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q -f .ci/site/mkdocs.yml
	@echo "The docs are in dist/docs/index.html"

lint: install ## format, lint, types, imports
	@$(BIN)/ruff format --check --quiet . || { echo "Run 'make format' to format these files."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: install ## format the code and sort its imports
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

synth: install ## write the template that `crewline dev` deploys (needs Node)
	@$(BIN)/python infra/app.py --package

openapi: install ## write the OpenAPI document that the API serves
	@$(BIN)/python -m crewline.http.openapi

schemas: install ## write the JSON Schemas of messages and events into docs/schemas
	@$(BIN)/python -m crewline.events.schemas

lock: install ## resolve the dependencies anew
	@$(BIN)/uv pip compile -q --upgrade pyproject.toml --group develop --extra cdk --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header -o layers/deps/develop.txt
	@$(BIN)/uv pip compile -q --upgrade layers/deps/crew.in --universal --python $(BIN)/python --python-version 3.13 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header -o layers/deps/crew.txt
	@$(BIN)/uv pip compile -q --upgrade layers/deps/control.in --constraints layers/deps/crew.txt --universal --python $(BIN)/python --python-version 3.13 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header -o layers/deps/control.txt
	@$(BIN)/uv pip compile -q --upgrade layers/deps/adapter.in --constraints layers/deps/crew.txt --universal --python $(BIN)/python --python-version 3.13 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header -o layers/deps/adapter.txt

wheel: install ## build dist/crewline-*.whl
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean: ## remove what the other targets made
	rm -rf .venv .crewline dist cdk.out .mypy_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis
