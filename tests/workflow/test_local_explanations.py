"""The explanations stage of a study that Neuronpedia does not host."""

from fsrl.explanations import local as explanations
from fsrl.tables import core as tables
from fsrl.tables.enrichment import BEST_SETS
from fsrl.tables.explanations import EXPLANATIONS, WORDS
from tests.fixtures.project import Project
from tests.fixtures.tiny_study import SAE_IDS


def test_a_study_that_is_not_hosted_explains_itself_and_says_so(built: Project) -> None:
    folder = built.folder / "results/tiny"
    for sae in SAE_IDS:
        frame = tables.read(folder / f"explanations/{sae}.parquet", EXPLANATIONS)
        best = tables.read(folder / sae / "trained/best_sets.parquet", BEST_SETS)
        assert frame["feature"].tolist() == best["feature"].tolist()
        assert set(frame["model"]) == {explanations.LOCAL_MODEL} and set(frame["source"]) == {"local"}
        significant = (best["n_promoted"] > 0).to_numpy()
        promoted = frame["description"].str.contains("promotes tokens of: ").to_numpy()
        assert promoted.tolist() == significant.tolist()
        neither = ~significant & (best["n_suppressed"] == 0).to_numpy()
        assert frame["description"].str.startswith(explanations.NOTHING).tolist() == neither.tolist()
        metadata = tables.read_metadata(folder / f"explanations/{sae}.parquet")
        assert "circular" in metadata["explanations"] and metadata["study"] == "tiny"
    words = tables.read(folder / "explanations/words.parquet", WORDS)
    assert words["circular"].all()
    assert not (folder / "explanations/agreement.parquet").exists()
