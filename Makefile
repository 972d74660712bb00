# Two commands do everything: `make demo` and `make test`. Both begin from a bare machine with
# Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo

.PHONY: demo test lint docs clean

demo: $(VENV)/demo.stamp
	test -f $(DEMO)/data/weights/tf_efficientnet_lite0.safetensors \
		|| { rm -rf $(DEMO)/data && $(BIN)/featstore demo-data $(DEMO)/data; }
	$(BIN)/featstore build --data $(DEMO)/data --split 0 --size 128 \
		--backbone timm:tf_efficientnet_lite0 \
		--weights $(DEMO)/data/weights/tf_efficientnet_lite0.safetensors --stores $(DEMO)/features
	rm -rf $(DEMO)/runs
	$(BIN)/featstore train --stores $(DEMO)/features --recipe baseline --out $(DEMO)/runs/baseline
	$(BIN)/featstore train --stores $(DEMO)/features --recipe tcn --out $(DEMO)/runs/tcn \
		--baseline $(DEMO)/runs/baseline
	@echo
	@sed -n '1,/^## Observations/p' $(DEMO)/runs/tcn/report.md | sed '$$d'
	@echo "Open $(DEMO)/runs/tcn/report.html in a browser."

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, in site/; a link that leads nowhere is an error.
docs: $(VENV)/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q

clean:
	rm -rf $(VENV) $(DEMO) site build dist *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# torch goes first: a requirement that another package states could fetch another build of it.
$(VENV)/%.stamp: setup.cfg pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[$*]"
	touch $@
