"""What may load what: heavy imports cost seconds in every job, and imports decide what is rerun."""

import importlib
import os
import subprocess
import sys

import pytest

import fsrl

ANALYSIS = (
    "models.activations",
    "weights.covariances",
    "errors",
    "types.classify",
    "files",
    "joblog",
    "moments.frames",
    "moments.engine",
    "nulls.directions",
    "nulls.frames",
    "claims.planted",
    "claims.recovery",
    "stats.quantiles",
    "tables.core",
    "types.cuts",
    "types.rules",
    "weights.matrices",
)


def loaded_by(statement):
    """The modules that a fresh process holds after `statement`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return set(done.stdout.split())


def test_importing_fsrl_loads_nothing_heavy():
    assert not loaded_by("import fsrl") & {"torch", "pandas", "numpy", "pyarrow", "logging"}


def test_the_version_is_that_of_the_package():
    assert fsrl.__version__.count(".") == 2


def test_analysis_loads_neither_models_nor_figures():
    modules = loaded_by("\n".join(f"import fsrl.{name}" for name in ANALYSIS))
    assert {f"fsrl.{name}" for name in ANALYSIS} <= modules
    assert not modules & {
        "transformer_lens",
        "sae_lens",
        "transformers",
        "matplotlib",
        "seaborn",
        "snakemake",
    }


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("joblog", {"torch", "pandas", "numpy", "pyarrow"}),
        ("types.rules", {"torch", "pandas", "numpy", "pyarrow"}),
        ("types.classify", {"torch"}),
        ("tables.core", {"torch"}),
        ("explanations.words", {"torch"}),
        ("moments.engine", {"pandas", "pyarrow"}),
        ("weights.matrices", {"pandas", "pyarrow"}),
        ("neuronpedia.api", {"torch", "pandas", "numpy", "pyarrow", "sae_lens", "huggingface_hub"}),
        ("models.sources", {"torch", "pandas", "numpy", "huggingface_hub", "sae_lens"}),
        ("models.hub_files", {"torch", "pandas", "numpy", "huggingface_hub"}),
    ],
)
def test_each_room_loads_only_what_it_needs(module, absent):
    assert not loaded_by(f"import fsrl.{module}") & absent


@pytest.mark.parametrize(
    ("place", "module", "name"),
    [
        (place, module, name)
        for place, modules in fsrl.PUBLIC.items()
        for module, names in modules.items()
        for name in names
    ],
)
def test_a_public_name_is_what_its_module_defines(place, module, name):
    assert getattr(importlib.import_module(place), name) is getattr(importlib.import_module(module), name)
    assert name in dir(importlib.import_module(place))


def test_no_other_name_is_made_up():
    for place in fsrl.PUBLIC:
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = importlib.import_module(place).nothing
    with pytest.raises(ImportError):
        from fsrl.moments import nothing  # noqa: F401


@pytest.mark.parametrize(
    ("short", "name", "module"),
    [
        ("fsrl.hub", "read_model", "fsrl.models.reading"),
        ("fsrl.hub", "decoders", "fsrl.models.dictionaries"),
        ("fsrl.hub", "unembedding", "fsrl.models.export"),
        ("fsrl.sources", "ModelSource", "fsrl.models.sources"),
        ("fsrl.sources", "SAESource", "fsrl.models.sources"),
        ("fsrl.utils", "SAEfeatureAnalyzer", "fsrl.analyzer.analyzer"),
    ],
)
def test_short_modules_for_notebooks_give_what_their_module_defines(short, name, module):
    assert getattr(importlib.import_module(short), name) is getattr(importlib.import_module(module), name)
