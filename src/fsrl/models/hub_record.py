"""The record of what a study was built from: which files of the hub, at which commit, with which content.

`results/{study}/hub_files.tsv`, and of a model alone `results/models/{model}/hub_files.tsv`, outlive the
hub's cache, which others empty, break, or fill from a branch that has moved on. So a job that reads the cache
first has `restore` bring back what the record names.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from fsrl.errors import FsrlError
from fsrl.files import atomic_write
from fsrl.models import hub_files
from fsrl.models.hub_files import HubFile


@dataclass(frozen=True)
class Recorded:
    """One file that was there: sha256 of its content, size in bytes."""

    repository: str
    path: str
    commit: str
    sha256: str
    bytes: int


COLUMNS = [field.name for field in fields(Recorded)]


def write(files: Sequence[HubFile], path: str | Path) -> None:
    """The record of those of `files` that exist, all in the cache; FsrlError for one whose hash is wrong."""
    lines = ["\t".join(COLUMNS)]
    for file in files:
        place = hub_files.cached(file)
        if place is not None:
            digest, size = hub_files.checked_sha256(place), place.stat().st_size
            row = Recorded(file.repo, file.path, hub_files.commit(place), digest, size)
            lines.append("\t".join(map(str, astuple(row))))
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read(path: str | Path) -> dict[tuple[str, str], Recorded]:
    """{(repository, path): its row}; FsrlError for a file that `write` did not write."""
    try:
        header, *lines = Path(path).read_text(encoding="utf-8").splitlines()
        split = (line.split("\t") for line in lines)
        rows = [Recorded(repo, name, at, digest, int(size)) for repo, name, at, digest, size in split]
        if header.split("\t") != COLUMNS:
            raise ValueError(header)
    except (OSError, ValueError):
        raise FsrlError(f"{path} is no record of files of the hub; delete it and run again") from None
    return {(row.repository, row.path): row for row in rows}


def lost(files: Sequence[HubFile], path: str | Path) -> list[HubFile]:
    """What the cache lacks, or holds with another size than the record's at its commit.

    Of `files`, and of what the record names beside them. Asks neither the network nor for hashes: of
    gigabytes, that is too slow for every plan.
    """
    rows = read(path)
    named = _named(files, rows)
    lacking = hub_files.missing(named)
    return [file for file in named if file in lacking or _is_cut(file, rows.get((file.repo, file.path)))]


def moved(files: Sequence[HubFile], path: str | Path) -> str | None:
    """What to do where the cache holds a file at another commit than the record; None where it does not."""
    rows = read(path)
    for file in files:
        row, place = rows.get((file.repo, file.path)), hub_files.cached(file)
        if row is not None and place is not None and hub_files.commit(place) != row.commit:
            return (
                f"{path} names {file.repo} at commit {row.commit}, the Hugging Face cache holds "
                f"{hub_files.commit(place)}: set `revision: {row.commit}` in the study to go on with the "
                "first, or build anew from the second "
                "(snakemake -R fetch_model fetch_weights --config study=NAME)"
            )
    return None


def restore(files: Sequence[HubFile], path: str | Path) -> None:
    """Have the cache hold what the record names: fetch what it has lost.

    Raises FsrlError where that cannot be fetched, and where the repository's branch has moved on, so that
    what is read would not be what the record names.
    """
    lacking, rows = lost(files, path), read(path)
    for file in lacking:
        place = hub_files.cached(file)
        if place is not None:
            hub_files.remove(place)
    # Where the cache still knows the commit, a branch that has moved on is not followed.
    places = {file: hub_files.cached(file) for file in files}
    known = {(file.repo, hub_files.commit(place)) for file, place in places.items() if place is not None}
    commits = {(file.repo, row.commit) for file in lacking if (row := rows.get((file.repo, file.path)))}
    for repo, commit in sorted(commits & known):
        hub_files.fetch([replace(file, revision=commit) for file in lacking if file.repo == repo])
    hub_files.fetch(_named(files, rows))
    check(files, path)


def check(files: Sequence[HubFile], path: str | Path) -> None:
    """Raise FsrlError where the cache holds one of the files at another commit than the record."""
    problem = moved(files, path)
    if problem:
        raise FsrlError(problem)


def _named(files: Sequence[HubFile], rows: dict[tuple[str, str], Recorded]) -> list[HubFile]:
    """`files`, and what the record names beside them in their repositories: shards, which an index lists."""
    revisions = {file.repo: file.revision for file in files}
    beside = rows.keys() - {(file.repo, file.path) for file in files}
    return [
        *files,
        *(HubFile(repo, name, revisions[repo]) for repo, name in sorted(beside) if repo in revisions),
    ]


def _is_cut(file: HubFile, row: Recorded | None) -> bool:
    place = hub_files.cached(file)
    if row is None or place is None or hub_files.commit(place) != row.commit:
        return False
    return place.stat().st_size != row.bytes
