"""A study of transcoders: statistics at the place where they write, no effects, and one line that says so."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from scipy import stats

from fsrl.tables import core as tables
from fsrl.tables.moments import MOMENTS
from tests.fixtures.adapter_examples import make_sae
from tests.fixtures.project import Project

EFFECT_RULES = {"measure_effects_tiny", "effect_summary", "draw_effect_figures", "write_latex_effects"}
EFFECT_RULES |= {"measure_steering_tiny", "summarise_steering", "write_latex_steering"}
LINE = "study tiny is built without effects: mlp-1 is a transcoder, whose features are read at another place"
READS, WRITES = "blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out"


@pytest.fixture
def project(fresh: Project, tmp_path: Path) -> Project:
    """The tiny study with a transcoder in the place of its SAEs."""
    project = fresh.copy(tmp_path / "project")
    sae = make_sae(
        "skip_transcoder",
        hook=READS,
        metadata={"hook_name_out": WRITES},
        d_out=16,
        apply_b_dec_to_input=False,
    )
    sae.save_model(project.folder / "transcoders/mlp-1")
    path = project.folder / "tiny/config.yaml"
    config = json.loads(path.read_text())
    config["studies"]["tiny"]["saes"] = {"folder": "transcoders"}
    path.write_text(json.dumps(config))
    return project


def test_effects_are_left_out_and_one_line_says_so(fresh: Project, project: Project) -> None:
    planned = fresh.plan()
    assert set(project.plan()) == set(planned) - EFFECT_RULES
    said = project.without_jobs("--dry-run").stderr.splitlines()
    assert sum(line.startswith(LINE) for line in said) == 1


@pytest.mark.slow
def test_statistics_are_of_the_place_where_it_writes(project: Project) -> None:
    table = "results/tiny/mlp-1/trained/types.parquet"
    done = project.snakemake(table, "results/tiny/mlp-1/main/moments.parquet")
    assert done.returncode == 0, done.stderr
    metadata = tables.read_metadata(project.folder / table)
    assert metadata["encoder_hook"].startswith(f"{READS}: a transcoder")
    assert metadata["hook"] == WRITES
    moments = tables.read(project.folder / "results/tiny/mlp-1/main/moments.parquet", MOMENTS)
    rows = load_file(project.folder / "transcoders/mlp-1/sae_weights.safetensors")["W_dec"].double()
    model = load_file(project.folder / "tiny/model/model.safetensors")
    stored = {name.removeprefix("transformer."): tensor.double() for name, tensor in model.items()}
    folded = (stored["wte.weight"] * stored["ln_f.weight"]).T
    logits = (rows @ (folded - folded.mean(dim=0))).numpy()
    np.testing.assert_allclose(moments["kurtosis"], stats.kurtosis(logits, axis=1, fisher=False), rtol=1e-4)
    np.testing.assert_allclose(moments["skewness"], stats.skew(logits, axis=1), rtol=1e-3, atol=1e-5)
