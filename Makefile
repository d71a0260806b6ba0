# make reproduce   every table and figure of the embedded study, from a clean clone
# make test        the fast tests           make test-slow   the others
# make lint        formatters, types, rules make clean       remove what the workflow built
# make mini        copy a finished `snakemake --cores 2 train_mini` into data/mini
# make lock        resolve requirements.lock anew in a clean environment
# make triton      the compiler of the GPU's kernel (200 MB), for its tests on machines without a GPU
# make rulegraph   write the graph of the rules into docs/reference/figures.md, as Snakemake gives it
# make docs        the documentation, in site/; needs no network
# make notebooks   open the notebooks in JupyterLab
# pip reads the user's own settings (proxy, index, find-links); nothing here overrides them.

VENV := .venv
# Programs are run by the interpreter: pip writes its path into them, where a space, a quote or a $ in the folder's name
# may be misread. (Python makes no environment in a folder with a colon in its name.)
RUN := $(VENV)/bin/python -m
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CORES ?= 8
# A process of tests for every core that this one may use (`-n auto` takes two threads of a core for one); each needs
# over a GB of memory, and from eight on all wait for those of the built study. Slow tests run alone: most are builds
# that fill the machine by themselves.
WORKERS ?= $(shell PYTHONPATH=src $(VENV)/bin/python -c "from fsrl import machine; print(min(8, machine.cores()))")
PYTEST_ARGS ?=
# Of `make notebooks`, say --no-browser.
JUPYTER_ARGS ?=
READY := $(VENV)/.ready
# The lock's own resolution happens apart from the environment in use.
LOCK_VENV := .lock-venv
# Beside the environment: a Torch for CPUs that finds Triton may do otherwise than a user's, which has none.
TRITON := .triton

.PHONY: reproduce test test-slow lint docs notebooks clean mini lock triton rulegraph

reproduce: $(READY)
	$(RUN) snakemake --cores $(CORES)

test: $(READY)
	$(RUN) pytest -m "not slow" -n $(WORKERS) --dist loadscope --no-loadscope-reorder $(PYTEST_ARGS)

test-slow: $(READY)
	$(RUN) pytest -m slow $(PYTEST_ARGS)

lint: $(READY)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) snakefmt --check Snakefile workflow
	$(RUN) mypy
	$(VENV)/bin/python workflow/lint.py

# Strict: a link or an anchor that leads nowhere is an error. (The variable silences an advertisement of the theme's.)
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs --quiet build --strict
	@echo "Written: site/index.html"

# Copies to work in, beside the sources: as the workflow ran them, or without outputs where it has not. A copy that is
# there is somebody's work and stays; the first line of each goes to the repository's root, wherever it is opened.
notebooks: $(READY)
	for source in notebooks/*.py; do \
	  copy="$${source%.py}.ipynb"; \
	  if [ -e "$$copy" ]; then echo "$$copy: kept as it is; delete it for a fresh one"; \
	  elif [ -e "results/$$copy" ]; then cp "results/$$copy" "$$copy"; \
	  else $(RUN) jupytext --quiet --set-kernel python3 --to ipynb --output "$$copy" "$$source"; fi || exit; \
	done
	$(RUN) jupyter lab --LabApp.default_url=/lab/tree/notebooks/visualizing_sae_features.ipynb $(JUPYTER_ARGS)

# A stamp: with the packages in, neither pip nor a network is asked again until the lock changes.
$(READY): requirements.lock pyproject.toml
	test -x $(VENV)/bin/python || "$(PYTHON)" -m venv $(VENV)
	$(VENV)/bin/python -m pip install -r requirements.lock
	$(VENV)/bin/python -m pip install --no-deps --no-build-isolation --editable .
	touch $@

# results/train_mini (hours of training) stays; so does .snakemake, which remembers what made it.
clean:
	if [ -d results ]; then find results -mindepth 1 -maxdepth 1 ! -name train_mini -exec rm -rf {} +; fi
	rm -rf figures logs site paper/generated paper/main.pdf

rulegraph: $(READY)
	$(RUN) snakemake --cores 1 --config 'run=[mini, mini-neurons, mini-runs]' --rulegraph mermaid-js | $(VENV)/bin/python workflow/rulegraph.py

mini:
	test -f results/train_mini/mini/record.json
	rm -rf data/mini/model data/mini/saes data/mini/further_saes
	cp -R results/train_mini/mini/. data/mini/
	chmod -R u=rwX,go=rX data/mini

triton: $(TRITON)/.ready

$(TRITON)/.ready: requirements-triton.lock | $(READY)
	rm -rf $(TRITON)
	$(RUN) pip install --no-deps --target $(TRITON) -r requirements-triton.lock
	touch $@

lock:
	rm -rf $(LOCK_VENV)
	"$(PYTHON)" -m venv $(LOCK_VENV)
	$(LOCK_VENV)/bin/python -m pip install ".[workflow,dev]"
	sed -n '/^#/p' requirements.lock > $(LOCK_VENV)/lock
	$(LOCK_VENV)/bin/python -m pip freeze --all --exclude pip --exclude fsrl \
	  | sed 's/+[a-z0-9.]*$$//' >> $(LOCK_VENV)/lock
	mv $(LOCK_VENV)/lock requirements.lock
	rm -rf $(LOCK_VENV)
