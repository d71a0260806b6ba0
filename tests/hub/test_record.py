"""The record of a study's files against a cache that was emptied, broken, or filled from another commit."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsrl.errors import FsrlError
from fsrl.models import hub_files, hub_record
from fsrl.models.hub_files import HubFile
from tests.hub.layouts import HubTree
from tests.hub.server import LoopbackHub

REPO = "jbloom/GPT2-Small-SAEs-Reformatted"
SAE = "blocks.8.hook_resid_pre"
FILES = [
    HubFile(REPO, f"{SAE}/cfg.json"),
    HubFile(REPO, f"{SAE}/sae_weights.safetensors"),
    HubFile(REPO, f"{SAE}/sparsity.safetensors", required=False),
    HubFile(REPO, f"{SAE}/nothing.json", required=False),
]
WEIGHTS = FILES[1]


@pytest.fixture
def record(at_hub: LoopbackHub, tmp_path: Path) -> Path:
    """The record of FILES, which the cache holds."""
    hub_files.fetch(FILES)
    hub_record.write(FILES, tmp_path / "hub_files.tsv")
    at_hub.requests.clear()
    return tmp_path / "hub_files.tsv"


@pytest.fixture
def other_main(hub_tree: HubTree) -> Iterator[str]:
    """The branch main of the repository moves on to another commit."""
    refs = hub_tree.folder / REPO / "refs"
    before, other = (refs / "main").read_text(), (refs / "v0.9").read_text()
    (refs / "main").write_text(other)
    yield other.strip()
    (refs / "main").write_text(before)


def contents() -> dict[str, bytes]:
    places = {file.path: hub_files.cached(file) for file in FILES}
    return {path: place.read_bytes() for path, place in places.items() if place is not None}


def cached(file: HubFile) -> Path:
    place = hub_files.cached(file)
    assert place is not None
    return place


def test_a_cache_that_holds_what_the_record_names_is_left_alone(at_hub: LoopbackHub, record: Path) -> None:
    assert len(hub_record.read(record)) == 3
    assert hub_record.lost(FILES, record) == [] and hub_record.moved(FILES, record) is None
    hub_record.restore(FILES, record)
    assert at_hub.requests == []


def delete_all(folder: Path) -> None:
    shutil.rmtree(folder)


def delete_link(folder: Path) -> None:
    cached(WEIGHTS).unlink()


def delete_blob(folder: Path) -> None:
    cached(WEIGHTS).resolve().unlink()


def delete_refs(folder: Path) -> None:
    shutil.rmtree(cached(WEIGHTS).parents[3] / "refs")


def cut(folder: Path) -> None:
    blob = cached(WEIGHTS).resolve()
    blob.write_bytes(blob.read_bytes()[:-1])


def break_and_delete_link(folder: Path) -> None:
    place = cached(WEIGHTS)
    place.resolve().write_bytes(bytes(place.stat().st_size))
    place.unlink()


@pytest.mark.parametrize(
    "harm", [delete_all, delete_link, delete_blob, delete_refs, cut, break_and_delete_link]
)
def test_what_the_cache_has_lost_is_brought_back(record: Path, tmp_path: Path, harm) -> None:
    before = contents()
    harm(tmp_path / "hf")
    assert hub_record.lost(FILES, record) != []
    hub_record.restore(FILES, record)
    assert hub_record.lost(FILES, record) == [] and contents() == before


def test_what_the_record_names_beside_the_files_is_brought_back_too(record: Path, tmp_path: Path) -> None:
    """Shards of a model: which there are stands in a file that is lost as well."""
    before = contents()
    shutil.rmtree(tmp_path / "hf")
    hub_record.restore(FILES[:1], record)
    assert contents() == before


def test_a_broken_file_of_the_right_size_is_named_and_the_remedy_works(record: Path) -> None:
    before = contents()
    blob = cached(WEIGHTS).resolve()
    blob.write_bytes(bytes(len(before[WEIGHTS.path])))
    with pytest.raises(FsrlError, match="delete the file and fetch it again"):
        hub_files.checked_sha256(cached(WEIGHTS))
    blob.unlink()
    hub_record.restore(FILES, record)
    assert contents() == before


def test_a_small_broken_file_is_named_too(record: Path) -> None:
    place = cached(FILES[0])
    hub_files.checked_sha256(place)
    place.resolve().write_bytes(b"{}")
    with pytest.raises(FsrlError, match="does not have the hash"):
        hub_files.checked_sha256(place)


def test_the_hash_is_that_of_the_link_into_blobs_not_of_a_store_behind_it(record: Path) -> None:
    """huggingface_hub may keep the bytes once for all repositories, under a hash of another kind."""
    blob = cached(WEIGHTS).resolve()
    store = blob.parents[2] / "blobs/ab" / ("ab" * 32)
    store.parent.mkdir(parents=True)
    blob.rename(store)
    blob.symlink_to(store)
    assert hub_files.checked_sha256(cached(WEIGHTS)) == blob.name
    store.write_bytes(b"broken")
    with pytest.raises(FsrlError, match="does not have the hash"):
        hub_files.checked_sha256(cached(WEIGHTS))


def test_a_branch_that_moved_on_is_not_followed_while_the_commit_is_known(
    record: Path, other_main: str
) -> None:
    before = contents()
    cached(WEIGHTS).unlink()
    hub_record.restore(FILES, record)
    assert contents() == before
    assert hub_files.commit(cached(WEIGHTS)) != other_main


def test_a_cache_of_another_commit_is_named_with_both(record: Path, tmp_path: Path, other_main: str) -> None:
    first = hub_record.read(record)[REPO, WEIGHTS.path].commit
    shutil.rmtree(tmp_path / "hf")
    with pytest.raises(FsrlError) as caught:
        hub_record.restore(FILES, record)
    assert first in str(caught.value) and other_main in str(caught.value)
    assert "revision:" in str(caught.value) and "fetch_weights" in str(caught.value)
    assert hub_record.lost(FILES, record) == []
    hub_record.write(FILES, record)
    assert hub_record.moved(FILES, record) is None
    # Pinned, the first is to be had as well.
    pinned = [HubFile(file.repo, file.path, first, file.required) for file in FILES]
    hub_files.fetch(pinned)
    assert hub_files.commit(cached(pinned[1])) == first


@pytest.mark.parametrize("text", ["", "a\tb\n", "repository\tpath\tcommit\tsha256\tbytes\nx\ty\n", "\xff"])
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.tsv").write_text(text, encoding="latin-1")
    with pytest.raises(FsrlError, match="is no record"):
        hub_record.read(tmp_path / "record.tsv")
