"""Which tokens are trained is asked of W_U only where counts are unknown and a view leaves tokens out."""

import json
from pathlib import Path

import pytest

from fsrl.models.export import UNTOLD
from fsrl.tables import core as tables
from fsrl.tables.tokens import TOKENS
from tests.fixtures.project import Project


@pytest.mark.parametrize("views", [["cosine", "main"], ["cosine", "trained"]])
def test_without_counts_undertrained_tokens_are_told_where_a_view_reads_them(
    fresh: Project, tmp_path: Path, views: list[str]
) -> None:
    project = fresh.copy(tmp_path / "project")
    overlay = project.folder / "tiny/config.yaml"
    config = json.loads(overlay.read_text())
    del config["studies"]["tiny"]["token_counts"]
    config["studies"]["tiny"] |= {"views": views, "figure_views": views[-1:]}
    config["tokens"]["draws"] = 1000
    overlay.write_text(json.dumps(config))
    done = project.snakemake("results/models/tiny-model/tokens.parquet")
    assert done.returncode == 0, done.stderr
    path = project.folder / "results/models/tiny-model/tokens.parquet"
    trained = tables.read(path, TOKENS)["trained"]
    said = tables.read_metadata(path)["trained_tokens"]
    if "trained" in views:
        assert trained.notna().all() and "1000 isotropic directions" in said
    else:
        assert trained.isna().all() and said == UNTOLD
