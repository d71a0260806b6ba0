"""Features and explanations in Neuronpedia's layout: read back by the reader of Neuronpedia's exports."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from fsrl.dataset import bulk
from fsrl.errors import FsrlError
from fsrl.explanations import agreement, local
from fsrl.models import releases
from fsrl.neuronpedia import api as neuronpedia
from fsrl.tables import core
from fsrl.tables.explanations import EXPLANATIONS
from fsrl.tables.moments import EXTREMES, HISTOGRAMS, MOMENTS
from tests.fixtures import dataset_tables
from tests.fixtures.dataset_tables import FEATURES, SAES, TEXTS, TOKENS
from tests.neuronpedia.servers import Bucket


def sources(folder: Path) -> list[bulk.Source]:
    """The made-up study's SAEs, in the view main."""
    dataset_tables.build(folder)
    return [
        bulk.Source(
            "tiny-model",
            bulk.source_name(sae, layer, "tiny"),
            sae,
            sae,
            *(folder / sae / f"main/{table}.parquet" for table in ("moments", "extremes", "histograms")),
            explanations=folder / f"explanations/{sae}.parquet",
        )
        for sae, layer in SAES.items()
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bulk.Source]]:
    """The folder that holds v1/, and the sources in it."""
    place = tmp_path_factory.mktemp("bulk")
    found = sources(place / "tables")
    bulk.write(place / "out", found, "a title", "fsrl-tiny")
    return place / "out", found


@pytest.fixture
def bucket(made: tuple[Path, list[bulk.Source]]) -> Bucket:
    """What was written, as Neuronpedia's bucket serves it."""
    served = Bucket(page=3)
    served.objects = {
        str(path.relative_to(made[0])): path.read_bytes() for path in made[0].rglob("*") if path.is_file()
    }
    yield served
    served.close()


def test_features_come_back_through_the_reader(
    made: tuple[Path, list[bulk.Source]], bucket: Bucket, tmp_path: Path
) -> None:
    for source in made[1]:
        found = neuronpedia.features(
            source.model_id, source.name, cache=tmp_path, n_features=FEATURES, bucket=bucket.url
        )
        assert list(found) == list(range(FEATURES)) and found.missing == [] and found.duplicates == 0
        moments = core.read(source.moments, MOMENTS)
        extremes = core.read(source.extremes, EXTREMES)
        counts = core.read(source.histograms, HISTOGRAMS)["counts"]
        for feature in (0, 5, 7, 1023, FEATURES - 1):
            row, own = found[feature], extremes[extremes["feature"] == feature].sort_values("rank")
            for side, end in (("top", "pos"), ("bottom", "neg")):
                assert tuple(row[f"{end}_str"]) == TEXTS
                weights = own.loc[own["side"] == side, "weight"].to_numpy()
                np.testing.assert_allclose(row[f"{end}_values"], weights, atol=5.1e-6, rtol=0)
            density = moments["log10_density"][feature]
            if np.isnan(density):
                assert feature == 7 and "frac_nonzero" not in row
            else:
                assert row["frac_nonzero"] == pytest.approx(10 ** float(density), rel=1e-4)
            assert row["hookName"] == source.sae and row["sourceSetName"] == source.name.split("-", 1)[1]
            assert row["maxActApprox"] is None and row["freq_hist_data_bar_heights"] == []
            heights = row["logits_hist_data_bar_heights"]
            assert sum(heights) == (0 if feature == 5 else counts[feature].sum())


def test_bars_stand_where_the_tokens_are() -> None:
    """By hand: four bins of 4 std each from mean - 8 std to mean + 8 std, the outer two empty or not."""
    heights, centres = bulk.histogram(np.array([0, 2, 3, 0]), mean=1.0, std=0.5)
    assert heights == [2, 3] and centres == [0.0, 2.0]
    assert bulk.histogram(np.array([1, 0, 0, 1]), 0.0, 1.0) == ([1, 0, 0, 1], [-6.0, -2.0, 2.0, 6.0])
    assert bulk.histogram(np.array([0, 2, 3, 0]), 1.0, 0.0) == ([], [])


def test_rows_are_what_the_comparison_with_neuronpedia_reads(made: tuple[Path, list[bulk.Source]]) -> None:
    source = made[1][1]
    row = next(row for row in bulk.features(source) if row["index"] == "12")
    read = agreement.published(row)
    counts = core.read(source.histograms, HISTOGRAMS)["counts"][12]
    own = core.read(source.moments, MOMENTS).loc[12]
    edges = np.linspace(own["mean"] - 8 * own["std"], own["mean"] + 8 * own["std"], len(counts) + 1)
    first = np.flatnonzero(counts)[0]
    assert read.width == pytest.approx(edges[1] - edges[0], abs=1e-5)
    assert read.start == pytest.approx(edges[first], abs=2e-5)
    np.testing.assert_allclose(read.shares * counts.sum(), np.trim_zeros(counts))


def test_explanations_come_back_as_the_table(
    made: tuple[Path, list[bulk.Source]], bucket: Bucket, tmp_path: Path
) -> None:
    for source in made[1]:
        found = neuronpedia.explanations(source.model_id, source.name, cache=tmp_path, bucket=bucket.url)
        assert len(found[3]) == 2 and 1 not in found
        table = core.read(source.explanations, EXPLANATIONS)
        again = local.frame({feature: list(rows) for feature, rows in found.items()}, "local")
        assert again.equals(table)


def test_batches_are_of_1024_rows_in_the_order_of_text(made: tuple[Path, list[bulk.Source]]) -> None:
    place = made[0] / "v1/tiny-model" / made[1][0].name
    assert sorted(path.name for path in (place / "features").iterdir()) == [
        "batch-0.jsonl.gz",
        "batch-1.jsonl.gz",
    ]
    lines = gzip.decompress((place / "features/batch-0.jsonl.gz").read_bytes()).splitlines()
    indices = [json.loads(line)["index"] for line in lines]
    assert len(lines) == 1024 and indices[:4] == ["0", "1", "10", "100"] and indices == sorted(indices)
    # The stamp of gzip's header, which would differ from run to run.
    assert (place / "features/batch-0.jsonl.gz").read_bytes()[4:8] == bytes(4)


def test_the_four_records_name_each_other(made: tuple[Path, list[bulk.Source]]) -> None:
    for source in made[1]:
        place = made[0] / "v1/tiny-model" / source.name
        names = ("release", "model", "sourceset", "source")
        release, model, group, own = (json.loads((place / f"{name}.jsonl").read_text()) for name in names)
        assert own["id"] == source.name and own["setName"] == group["name"] == source.set_name
        assert own["modelId"] == group["modelId"] == model["id"] == "tiny-model"
        assert group["releaseName"] == release["name"] == "fsrl-tiny"
        assert source.name == f"{SAES[source.sae]}-{source.set_name}"


def test_an_sae_of_the_embedding_has_a_name_that_holds_together(tmp_path: Path) -> None:
    """Not "-1-...", which no source can be called; as Neuronpedia's own, of which SAELens lists one."""
    known = releases.neuronpedia_id("pythia-70m-deduped-res-sm", "blocks.0.hook_resid_pre")
    assert known is not None and known.startswith("pythia-70m-deduped/e-")
    for sae, name in (
        ("hook_embed", "e-embed-tiny"),
        ("embedding/width_4k/average_l0_6", "e-embedding-width-4k-average-l0-6-tiny"),
    ):
        assert bulk.source_name(sae, -1, "tiny") == name
        own = bulk.Source(**vars(sources(tmp_path / name)[0]) | {"name": name, "sae": sae, "hook": sae})
        assert own.set_name == name.removeprefix("e-")
        (place,) = bulk.write(tmp_path / name / "out", [own], "t", "r")
        assert place == f"v1/tiny-model/{name}"
        said = json.loads((tmp_path / name / "out" / place / "source.jsonl").read_text())
        assert said["id"] == name and said["setName"] == own.set_name


def test_names_that_neuronpedia_cannot_have_and_twins_are_refused(tmp_path: Path) -> None:
    one = sources(tmp_path)[0]
    odd = bulk.Source(**vars(one) | {"model_id": "a model"})
    with pytest.raises(FsrlError, match="cannot be a model of Neuronpedia's"):
        bulk.write(tmp_path / "odd", [odd], "t", "r")
    with pytest.raises(FsrlError, match="two SAEs would be v1/tiny-model/0-resid-pre-tiny"):
        bulk.write(tmp_path / "twins", [one, one], "t", "r")
    assert len(TOKENS) == len(TEXTS)
