"""What is fetched again and what is not: resume, changes in the bucket, damage on the way and on disk."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fsrl.errors import FsrlError
from fsrl.neuronpedia import api as neuronpedia
from fsrl.neuronpedia import cache as neuronpedia_cache
from tests.neuronpedia.rows import MODEL, SOURCE, explanation, fill
from tests.neuronpedia.servers import Answer, packed

ROOT = Path(__file__).parents[2]
ROWS = [explanation(index) for index in range(5)]
FOLDER = Path(MODEL) / SOURCE


@pytest.fixture
def keys(bucket):
    """Five batches of one row each."""
    return fill(bucket, "explanations", ROWS, 1)


def read(cache, **more):
    return neuronpedia.explanations(MODEL, SOURCE, cache=cache, **more)


def files(cache):
    return sorted(path.relative_to(cache / FOLDER).as_posix() for path in cache.rglob("*") if path.is_file())


def test_a_complete_cache_is_read_without_the_network(bucket, keys, tmp_path):
    first = read(tmp_path)
    bucket.requests.clear()
    assert dict(read(tmp_path)) == dict(first) and bucket.requests == []
    bucket.close()
    assert dict(read(tmp_path)) == dict(first)
    with pytest.raises(FsrlError, match="no connection can be made"):
        read(tmp_path, refresh=True)
    assert dict(read(tmp_path)) == dict(first)


def test_a_run_that_failed_goes_on_where_it_stopped(bucket, keys, tmp_path):
    bucket.fault("answer", "/" + keys[3], answer=Answer(403, b"<Error><Code>AccessDenied</Code></Error>"))
    with pytest.raises(
        FsrlError, match=r"batch-3.jsonl.gz answered 403 \(AccessDenied\); run the command again"
    ):
        read(tmp_path)
    assert files(tmp_path) == ["explanations.json", *(f"explanations/batch-{n}.jsonl.gz" for n in range(3))]
    bucket.faults.clear()
    bucket.requests.clear()
    assert list(read(tmp_path)) == [0, 1, 2, 3, 4]
    assert bucket.paths == ["/", "/" + keys[3], "/" + keys[4]]


def test_a_process_that_is_killed_in_the_middle_of_a_batch_loses_that_batch_only(bucket, keys, tmp_path):
    bucket.fault("stall", "/" + keys[2])
    arguments = f"{MODEL!r}, {SOURCE!r}, cache={str(tmp_path)!r}"
    code = f"from fsrl import neuronpedia; neuronpedia.explanations({arguments})"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        while "/" + keys[2] not in bucket.paths:
            assert process.poll() is None
            signal.sigtimedwait([], 0.02)
    finally:
        process.kill()
        process.wait()
    assert files(tmp_path) == [
        "explanations.json",
        "explanations/batch-0.jsonl.gz",
        "explanations/batch-1.jsonl.gz",
    ]
    bucket.release.set()
    bucket.faults.clear()
    bucket.requests.clear()
    assert list(read(tmp_path)) == [0, 1, 2, 3, 4]
    assert bucket.paths == ["/", *("/" + key for key in keys[2:])]


def test_refreshing_fetches_what_has_changed_and_forgets_what_has_gone(bucket, keys, tmp_path):
    read(tmp_path)
    # Another text of the same packed size: only the ETag tells that this batch has changed.
    before = bucket.objects[keys[1]]
    texts = (f"words about {letter}" for letter in "abcdefghijklmnopqrstuvwxyz")
    text = next(text for text in texts if len(packed([explanation(1, text)])) == len(before))
    bucket.objects[keys[1]] = packed([explanation(1, text)])
    del bucket.objects[keys[4]]
    bucket.requests.clear()
    assert list(read(tmp_path)) == [0, 1, 2, 3, 4] and bucket.requests == []
    found = read(tmp_path, refresh=True)
    assert list(found) == [0, 1, 2, 3] and found[1][0]["description"] == text
    assert bucket.paths == ["/", "/" + keys[1]]
    assert "explanations/batch-4.jsonl.gz" not in files(tmp_path)


def test_an_export_that_changed_between_two_runs_is_not_mixed(bucket, keys, tmp_path):
    bucket.fault("answer", "/" + keys[3], answer=Answer(403))
    with pytest.raises(FsrlError):
        read(tmp_path)
    bucket.faults.clear()
    for number, key in enumerate(keys):
        bucket.objects[key] = packed([explanation(number, "new")])
    assert {rows[0]["description"] for rows in read(tmp_path).values()} == {"new"}


def test_a_cache_whose_listing_is_lost_trusts_no_batch(bucket, keys, tmp_path):
    read(tmp_path)
    (tmp_path / FOLDER / "explanations.json").unlink()
    bucket.requests.clear()
    read(tmp_path)
    assert bucket.paths == ["/", *("/" + key for key in keys)]


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"name": "x"}]', "null"])
def test_a_listing_that_somebody_else_wrote_is_refused_by_name(bucket, keys, tmp_path, content):
    read(tmp_path)
    (tmp_path / FOLDER / "explanations.json").write_text(content)
    with pytest.raises(FsrlError, match="explanations.json is no listing that fsrl wrote; delete it"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["cut", "short", "garble"])
def test_a_batch_that_arrives_damaged_is_fetched_again(bucket, keys, tmp_path, kind):
    bucket.fault(kind, "/" + keys[2], times=2, after=40)
    assert list(read(tmp_path)) == [0, 1, 2, 3, 4]
    assert bucket.paths.count("/" + keys[2]) == 3


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut", "the connection broke off, 3 times"),
        ("short", "40 of [0-9]+ bytes arrived, 3 times"),
        ("garble", "it is not a whole gzip file, 3 times"),
    ],
)
def test_a_batch_that_stays_damaged_is_an_error_and_is_not_kept(bucket, keys, tmp_path, kind, message):
    bucket.fault(kind, "/" + keys[2], after=40)
    with pytest.raises(FsrlError, match=rf"batch-2.jsonl.gz: {message}; run the command again later"):
        read(tmp_path)
    assert files(tmp_path) == [
        "explanations.json",
        "explanations/batch-0.jsonl.gz",
        "explanations/batch-1.jsonl.gz",
    ]


def test_a_gzip_file_is_cut_between_two_members(bucket, keys, tmp_path):
    whole = packed(ROWS[:1])
    bucket.objects[keys[0]] = whole + packed([explanation(99)])
    assert list(read(tmp_path / "a")) == [0, 1, 2, 3, 4, 99]
    bucket.fault("short", "/" + keys[0], after=len(whole))
    with pytest.raises(FsrlError, match="bytes arrived, 3 times"):
        read(tmp_path / "b")


def test_a_login_page_in_the_place_of_a_batch_is_not_kept(bucket, keys, tmp_path):
    bucket.fault("answer", "/" + keys[0], answer=Answer(200, b"<html>Log in, please. " + b"x" * 10**6))
    with pytest.raises(FsrlError, match="batch-0.jsonl.gz: the answer is longer than [0-9]+ bytes, 3 times"):
        read(tmp_path)
    assert files(tmp_path) == ["explanations.json"]


@pytest.mark.parametrize(
    "harm", [lambda body: body[:-1], lambda body: body[:-9] + b"x" * 9, lambda body: b""]
)
def test_a_batch_that_was_damaged_on_disk_is_fetched_again(bucket, keys, tmp_path, harm):
    read(tmp_path)
    path = tmp_path / FOLDER / "explanations/batch-2.jsonl.gz"
    path.write_bytes(harm(path.read_bytes()))
    bucket.requests.clear()
    assert list(read(tmp_path)) == [0, 1, 2, 3, 4]
    assert bucket.paths.count("/" + keys[2]) == 1 and path.read_bytes() == bucket.objects[keys[2]]


def test_an_error_may_be_longer_than_the_batch(bucket, keys, tmp_path):
    bucket.fault("answer", "/" + keys[0], answer=Answer(404, b"<html>" + b"x" * 10**5))
    with pytest.raises(FsrlError, match="batch-0.jsonl.gz answered 404; run the command again"):
        read(tmp_path)


def test_a_disk_that_fills_up_leaves_nothing_half_written(bucket, keys, tmp_path, monkeypatch):
    write = Path.write_bytes

    def fill_up(path, content):
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(FsrlError, match="cannot be written .No space left on device"):
        read(tmp_path)
    assert files(tmp_path) == []


def test_a_batch_that_unpacks_to_more_than_any_batch_is_refused(bucket, keys, tmp_path, monkeypatch):
    monkeypatch.setattr(neuronpedia_cache, "LONGEST_UNPACKED", 10**5)
    bucket.objects[keys[0]] = packed([b" " * 10**6])
    with pytest.raises(FsrlError, match="it unpacks to more than 100000 bytes"):
        read(tmp_path)


def test_a_cache_that_cannot_be_written_is_named(bucket, keys, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FsrlError, match=r" cannot be written \(.*\); choose another cache"):
        read(tmp_path / "file")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"<IsTruncated>false", b"<IsTruncated>true", "does not come to an end"),
        (
            b"<IsTruncated>false</IsTruncated>",
            b"<IsTruncated>true</IsTruncated><NextContinuationToken>after+/=K</NextContinuationToken>",
            "does not come to an end",
        ),
        (b"<Size>", b"<Size>-", "gives no size for explanations/batch-0.jsonl.gz"),
        (b"ListBucketResult", b"Html", "the answer is no listing of a bucket"),
        (b"</ListBucketResult>", b"", "the answer is no listing of a bucket"),
        (b"<ListBucketResult", b'<!DOCTYPE a [<!ENTITY b "b">]><ListBucketResult', "no listing of a bucket"),
        (b"neuronpedia-datasets", b"\xff\xfe", "the answer is no listing of a bucket"),
    ],
)
def test_a_listing_that_is_none_is_refused_and_leaves_nothing(bucket, keys, tmp_path, old, new, message):
    good = bucket.answer(type("Request", (), {"path": "/", "query": {"prefix": f"v1/{MODEL}/{SOURCE}/exp"}}))
    changed = good.body.replace(old, new.replace(b"K", keys[4].encode()))
    assert changed != good.body
    bucket.fault("answer", "/", answer=Answer(200, changed))
    with pytest.raises(FsrlError, match=message):
        read(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_names_in_a_listing_lead_nowhere_else(bucket, keys, tmp_path):
    for name in ("../../../x.jsonl.gz", "explanations/../../x.jsonl.gz", "explanations-a/../b.jsonl.gz"):
        bucket.objects[f"v1/{MODEL}/{SOURCE}/{name}"] = packed([explanation(9)])
    bucket.objects[f"v1/{MODEL}/{SOURCE}/explanations-../b.jsonl.gz"] = packed([explanation(6)])
    assert list(read(tmp_path / "deep" / "cache")) == [0, 1, 2, 3, 4, 6]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.is_relative_to(tmp_path / "deep/cache" / FOLDER) for path in written)
