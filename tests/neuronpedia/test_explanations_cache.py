"""Whether an export is in the cache is known without a request: all of it, or not."""

import pytest

from fsrl.errors import FsrlError
from fsrl.neuronpedia import api as neuronpedia
from fsrl.neuronpedia import cache as neuronpedia_cache
from tests.neuronpedia.rows import MODEL, SOURCE, explanation, fill

KIND = "explanations"


def test_an_export_is_cached_when_every_batch_is_there_and_nobody_is_asked(bucket, tmp_path):
    assert not neuronpedia_cache.holds(MODEL, SOURCE, KIND, tmp_path)
    fill(bucket, KIND, map(explanation, range(50)), size=20)
    neuronpedia.explanations(MODEL, SOURCE, cache=tmp_path)
    bucket.requests.clear()
    assert neuronpedia_cache.holds(MODEL, SOURCE, KIND, tmp_path)
    assert not neuronpedia_cache.holds(MODEL, SOURCE, "features", tmp_path)
    assert neuronpedia_cache.lacking([(MODEL, SOURCE), (MODEL, "8-res-jb")], KIND, tmp_path) == [
        f"{MODEL}/8-res-jb"
    ]
    batch = tmp_path / MODEL / SOURCE / KIND / "batch-1.jsonl.gz"
    content = batch.read_bytes()
    batch.write_bytes(content[:-1])
    assert not neuronpedia_cache.holds(MODEL, SOURCE, KIND, tmp_path)
    batch.unlink()
    assert not neuronpedia_cache.holds(MODEL, SOURCE, KIND, tmp_path)
    batch.write_bytes(content)
    assert neuronpedia_cache.holds(MODEL, SOURCE, KIND, tmp_path)
    assert bucket.requests == []


def test_a_broken_listing_is_named(tmp_path):
    (tmp_path / MODEL / SOURCE).mkdir(parents=True)
    (tmp_path / MODEL / SOURCE / "explanations.json").write_text("{")
    with pytest.raises(FsrlError, match="explanations.json is no listing that fsrl wrote; delete it"):
        neuronpedia_cache.holds(MODEL, SOURCE, KIND, tmp_path)
