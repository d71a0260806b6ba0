"""Bulk exports over real HTTP: every row once, under its own feature, and nothing that was not published."""

import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.neuronpedia import api as neuronpedia
from tests.neuronpedia.rows import MODEL, SOURCE, batches, explanation, feature, fill

UNPUBLISHED = [3, 1024, 7777, 12000, 24000, 24575]


def read(cache, **more):
    return neuronpedia.explanations(MODEL, SOURCE, cache=cache, **more)


def test_a_source_of_true_size_lacks_exactly_what_was_not_published(bucket, tmp_path):
    published = sorted(set(range(24576)) - set(UNPUBLISHED))
    bucket.page = 10
    assert len(fill(bucket, "explanations", map(explanation, published))) == 24
    found = read(tmp_path, n_features=24576)
    assert list(found) == published and len(found) == 24570
    assert all(found[index][0]["description"] == f"words about {index}" for index in published)
    assert found.missing == UNPUBLISHED
    assert str(found.coverage) == "24570 of 24576 features" and 3 not in found
    assert repr(found) == "<Explanations of gpt2-small/7-res-jb: 24570 of 24576 features>"
    assert bucket.paths.count("/") == 3 and len(bucket.paths) == 3 + 24


def test_without_the_number_of_features_coverage_says_so(bucket, tmp_path):
    fill(bucket, "explanations", [explanation(4)])
    found = read(tmp_path)
    assert (found.coverage.found, found.coverage.of) == (1, None)
    with pytest.raises(FsrlError, match="give n_features"):
        _ = found.missing


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 5), st.text(min_size=1)), min_size=1, max_size=40
    ),
    st.integers(1, 7),
    st.integers(1, 4),
)
def test_any_rows_come_back_as_a_plain_loop_would_sort_them(bucket, tmp_path_factory, drawn, size, page):
    bucket.objects.clear()
    bucket.page = page
    rows = [explanation(index, text, row_id=f"{index}-{number}") for index, number, text in drawn]
    fill(bucket, "explanations", rows, size)
    expected: dict[int, list] = {}
    for part in batches(rows, size):
        for row in part:
            kept = expected.setdefault(int(row["index"]), [])
            if row["description"].strip() and row["id"] not in [other["id"] for other in kept]:
                kept.append({name: value for name, value in row.items() if name != "embedding"})
    found = read(tmp_path_factory.mktemp("cache"))
    assert {index: list(rows) for index, rows in found.items()} == {i: r for i, r in expected.items() if r}
    assert list(found) == sorted(found)


def test_several_explanations_of_a_feature_are_all_kept_and_duplicates_are_not(bucket, tmp_path):
    twice = explanation(2, "one", row_id="a")
    bucket.put(MODEL, SOURCE, "explanations/batch-0.jsonl.gz", [twice, explanation(2, "two", row_id="b")])
    bucket.put(MODEL, SOURCE, "explanations/batch-1.jsonl.gz", [twice, explanation(5)])
    found = read(tmp_path)
    assert [row["description"] for row in found[2]] == ["one", "two"]
    assert found.duplicates == 1 and list(found) == [2, 5]


def test_rows_without_an_id_are_told_apart_by_their_content(bucket, tmp_path):
    rows = [explanation(2, text, typeName=kind) for text, kind in (("a", "x"), ("a", "x"), ("a", "y"))]
    for row in rows:
        del row["id"]
    fill(bucket, "explanations", rows)
    assert [row["typeName"] for row in read(tmp_path)[2]] == ["x", "y"]


def test_what_explains_nothing_is_no_explanation(bucket, tmp_path, caplog):
    rows = [explanation(0, " \n"), {**explanation(1), "description": None}, {"index": "2"}, explanation(3)]
    fill(bucket, "explanations", rows)
    with caplog.at_level("INFO", "fsrl"):
        assert list(read(tmp_path)) == [3]
    assert "3 had no description" in caplog.text


def test_unknown_columns_are_kept_and_older_writers_are_read(bucket, tmp_path):
    old = {"index": 7, "description": "as an older writer has it", "scoreV9": {"a": [1]}}
    fill(bucket, "explanations", [explanation(8, newest="x")])
    bucket.put(MODEL, SOURCE, "explanations/batch-1.jsonl.gz", [old])
    found = read(tmp_path)
    assert found[7] == (old,) and found[8][0]["newest"] == "x"


def test_embeddings_are_left_out_unless_asked_for(bucket, tmp_path):
    fill(bucket, "explanations", [explanation(1, embedding="[0.1,0.2]")])
    assert "embedding" not in read(tmp_path)[1][0]
    assert read(tmp_path, embeddings=True)[1][0]["embedding"] == "[0.1,0.2]"


def test_explanations_by_a_model_lie_in_a_folder_of_their_own_and_come_last(bucket, tmp_path):
    bucket.put(
        MODEL, SOURCE, "explanations-gpt-4o-mini/batch-0.jsonl.gz", [explanation(1, "second", row_id="b")]
    )
    fill(bucket, "explanations", [explanation(1, "first", row_id="a")])
    bucket.put(MODEL, SOURCE, "features/batch-0.jsonl.gz", [feature(1)])
    bucket.put(MODEL, SOURCE + "-other", "explanations/batch-0.jsonl.gz", [explanation(9, layer="no")])
    bucket.objects[f"v1/{MODEL}/{SOURCE}/explanations/"] = b""
    found = read(tmp_path)
    assert [row["description"] for row in found[1]] == ["first", "second"] and list(found) == [1]


def test_the_time_of_the_export_is_told(bucket, tmp_path):
    fill(bucket, "explanations", [explanation(index) for index in range(4)], 2)
    assert read(tmp_path).exported.startswith("2026-04-")


def test_a_batch_that_the_numbers_leave_out_is_warned_of(bucket, tmp_path, caplog):
    for number in (0, 2, 10):
        bucket.put(MODEL, SOURCE, f"explanations/batch-{number}.jsonl.gz", [explanation(number)])
    assert list(read(tmp_path)) == [0, 2, 10]
    assert "explanations has no batch 1, 3, 4, 5, 6, 7, 8, 9" in caplog.text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (explanation(1, layer="8-res-jb"), r"line 2: layer is '8-res-jb', not '7-res-jb'"),
        (explanation(1, modelId="gpt2\x1b[31m"), r"modelId is 'gpt2 \[31m'"),
        (explanation(10), "feature 10 of an SAE with 10"),
        ({"index": "-1"}, "its index '-1' is no number"),
        ({"index": "１"}, "is no number"),
        ({"index": 1.5}, "is no number"),
        ({"description": "x"}, "is no number"),
        (["a", "list"], "line 2: not a JSON object"),
        (b'{"index": "1", "descr', "line 2: not a JSON object"),
        (b"[" * 100000, "line 2: not a JSON object"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_its_place(bucket, tmp_path, row, message):
    bucket.put(MODEL, SOURCE, "explanations/batch-0.jsonl.gz", [explanation(0), row])
    with pytest.raises(
        FsrlError, match=r"gpt2-small/7-res-jb explanations/batch-0.jsonl.gz, line 2.*"
    ) as caught:
        read(tmp_path, n_features=10)
    assert caught.match(message)


def test_a_source_without_an_export_is_refused_and_leaves_nothing(bucket, tmp_path):
    with pytest.raises(FsrlError, match=r"exports no explanations of gpt2-small/7-res-jb .*check the model"):
        read(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_rows_of_features_are_read_likewise_and_only_those_that_are_wanted(bucket, tmp_path):
    rows = [feature(index, unknown=index) for index in (0, 1, 10, 2, 300)]
    fill(bucket, "features", [*rows, rows[2]], 4)
    found = neuronpedia.features(MODEL, SOURCE, cache=tmp_path, n_features=301)
    assert found[10] == rows[2] and list(found) == [0, 1, 2, 10, 300]
    assert found.duplicates == 1 and found.coverage.found == 5 and len(found.missing) == 296
    some = neuronpedia.features(MODEL, SOURCE, cache=tmp_path, only=[300, 1, 4])
    assert dict(some) == {1: rows[1], 300: rows[4]}


def test_two_rows_of_a_feature_that_differ_are_refused(bucket, tmp_path):
    fill(bucket, "features", [feature(1), feature(1, maxActApprox=13.0)])
    with pytest.raises(FsrlError, match="line 2: another row of feature 1"):
        neuronpedia.features(MODEL, SOURCE, cache=tmp_path)


def test_the_cache_mirrors_the_bucket_and_is_where_caches_are(bucket, tmp_path, monkeypatch, capsys):
    fill(bucket, "explanations", [explanation(1), explanation(2)], 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    read(None, progress=True)
    folder = tmp_path / "fsrl/neuronpedia/gpt2-small/7-res-jb"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "explanations.json",
        "explanations/batch-0.jsonl.gz",
        "explanations/batch-1.jsonl.gz",
    ]
    stored = gzip.decompress((folder / "explanations/batch-0.jsonl.gz").read_bytes())
    assert json.loads(stored) == explanation(1)
    shown = capsys.readouterr()
    assert "explanations of gpt2-small/7-res-jb: 100%" in shown.err and shown.out == ""
