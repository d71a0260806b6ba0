"""Neuronpedia's bulk exports on disk: list the bucket, fetch its batches one by one, read their rows.

A source's rows lie in the bucket as v1/{model}/{source}/{kind}/batch-{k}.jsonl.gz, for some sources also in
{kind}-{explaining model}/. The cache mirrors that below {cache}/{model}/{source}/, plus {kind}.json: the
listing when it was fetched, with each batch's size and ETag. A cache that holds every listed batch is used
without asking the network; else the bucket is listed anew and what is missing or has changed is fetched. A
batch is checked (size, gzip's checksum) before it is written, so an interrupted run goes on where it stopped.
"""

import gzip
import io
import json
import logging
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from tqdm import tqdm

from fsrl import arguments
from fsrl.errors import FsrlError
from fsrl.files import atomic_write, user_cache
from fsrl.neuronpedia.http import BUCKET_URL, BUCKET_VARIABLE, Client, Damaged, base_url

logger = logging.getLogger(__name__)

# A batch of 1024 rows unpacks to some ten megabytes; more than this is no batch.
LONGEST_UNPACKED = 2**30


@dataclass(frozen=True)
class Batch:
    """One file of an export: name below the source's folder, bytes, ETag and time (ISO 8601) there."""

    name: str
    size: int
    etag: str
    modified: str


@dataclass(frozen=True)
class Export:
    """Rows of one kind (explanations, features) of one source, in the bucket and in the cache.

    folder: of the source in the cache; bucket: base address. Neither exists or is asked until `rows`.
    """

    model_id: str
    source: str
    kind: str
    folder: Path
    bucket: str

    @classmethod
    def of(
        cls, model_id: str, source: str, kind: str, cache: str | Path | None, bucket: str | None
    ) -> "Export":
        """With the defaults for what is None (cache: ~/.cache/fsrl/neuronpedia, or below XDG_CACHE_HOME).

        Raises FsrlError for a cache that is no path, and for a bucket that is no address.
        """
        sound = cache is None or arguments.is_path(cache)
        arguments.require(
            sound, f"{kind} of {model_id}/{source}", "cache", cache, "give the path of a folder"
        )
        root = user_cache() / "neuronpedia" if cache is None else Path(cache)
        return cls(
            model_id, source, kind, root / model_id / source, base_url(bucket, BUCKET_VARIABLE, BUCKET_URL)
        )

    def __str__(self) -> str:
        return f"{self.kind} of {self.model_id}/{self.source}"

    @property
    def prefix(self) -> str:
        """The source's folder in the bucket."""
        return f"v1/{self.model_id}/{self.source}/"

    def path(self, batch: Batch) -> Path:
        """Where the cache holds this batch."""
        return self.folder / batch.name

    def has(self, batch: Batch) -> bool:
        """Whether the cache holds this batch, judged by its size."""
        path = self.path(batch)
        return path.is_file() and path.stat().st_size == batch.size


def is_cached(export: Export) -> bool:
    """Whether the cache holds every batch of an export; FsrlError for a broken listing in the cache."""
    return bool(_cached(export))


def fetch(export: Export, *, refresh: bool = False, progress: bool = False) -> list[Batch]:
    """Bring every batch into the cache; no request is made where all are there, unless `refresh`.

    progress: a bar on standard error, a step a batch. Raises FsrlError where the bucket cannot be reached or
    has no such export, where a batch arrives damaged every time, and where the cache cannot be written.
    """
    if not refresh and (cached := _cached(export)):
        return cached
    known = _read_listing(export)
    with Client(export.bucket) as client:
        listed = list_batches(client, export)
        _forget(export, known, listed)
        _write(export.folder / f"{export.kind}.json", _as_json(listed))
        lacking = [batch for batch in listed if not export.has(batch)]
        for batch in tqdm(lacking, desc=str(export), unit="batch", disable=not progress):
            _download(client, export, batch)
    return listed


def rows(export: Export, batches: list[Batch]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row of fetched batches, with its place for messages.

    A batch that was damaged on disk since is fetched again. Raises FsrlError for a line that is no object.
    """
    for batch in batches:
        for number, line in enumerate(_content(export, batch).split(b"\n"), start=1):
            if line.strip():
                place = f"{export.model_id}/{export.source} {batch.name}, line {number}"
                yield place, _row(line, place)


def list_batches(client: Client, export: Export) -> list[Batch]:
    """All batches of an export in the order of their numbers, from every page of the bucket's listing.

    Warns of a number that is left out. Raises FsrlError where there is none, and for an answer that is no
    listing.
    """
    wanted = re.compile(
        re.escape(export.prefix) + rf"({export.kind}(?:-[\w.-]+)?/\w[\w.-]*\.jsonl\.gz)", re.ASCII
    )
    found: dict[str, Batch] = {}
    query = {"list-type": "2", "prefix": export.prefix + export.kind}
    tokens: set[str] = set()
    while True:
        page = _page(client, query)
        for entry in page.iter("Contents"):
            match = wanted.fullmatch(entry.findtext("Key", ""))
            if match:
                found[match[1]] = _batch(match[1], entry, client.base)
        if page.findtext("IsTruncated", "false") != "true":
            break
        token = page.findtext("NextContinuationToken", "")
        if not token or token in tokens:
            raise FsrlError(
                f"{client.base}: its listing of {export} does not come to an end; try again later"
            )
        tokens.add(token)
        query["continuation-token"] = token
    if not found:
        raise FsrlError(f"Neuronpedia exports no {export} ({client.base}); check the model and the source")
    batches = sorted(found.values(), key=_number)
    _warn_of_gaps(export, batches)
    return batches


def unpack(body: bytes, batch: Batch) -> bytes:
    """The JSON lines of a batch; Damaged where it is not of its announced size or no whole gzip file.

    The size is looked at first: a gzip file that is cut between two of its members looks whole.
    """
    if len(body) != batch.size:
        raise Damaged(f"{len(body)} of {batch.size} bytes arrived")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            content = file.read(LONGEST_UNPACKED + 1)
    except (EOFError, OSError, zlib.error):
        raise Damaged("it is not a whole gzip file") from None
    if len(content) > LONGEST_UNPACKED:
        raise Damaged(f"it unpacks to more than {LONGEST_UNPACKED} bytes")
    return content


def _page(client: Client, query: Mapping[str, str]) -> ElementTree.Element:
    """One page of a listing, its tags without namespace."""
    answer = client.get("/", query)
    if answer.status != 200:
        raise answer.error("check the bucket's address, or try again later")
    try:
        text = answer.body.decode("utf-8")
        # A listing declares no entities; a text that does could unfold to any size.
        page = None if "<!DOCTYPE" in text.upper() else ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError):
        page = None
    if page is None or page.tag.rpartition("}")[2] != "ListBucketResult":
        raise FsrlError(f"{answer.url}: the answer is no listing of a bucket (a proxy, a login page?)")
    for element in page.iter():
        element.tag = element.tag.rpartition("}")[2]
    return page


def _batch(name: str, entry: ElementTree.Element, base: str) -> Batch:
    size = entry.findtext("Size", "")
    if not re.fullmatch(r"[0-9]{1,12}", size):
        raise FsrlError(f"{base}: its listing gives no size for {name}; try again later")
    return Batch(name, int(size), entry.findtext("ETag", "").strip('"'), entry.findtext("LastModified", ""))


def _number(batch: Batch) -> tuple[str, list[tuple[int, str]]]:
    """Sort key: folder, then batch-2 before batch-10."""
    folder, _, name = batch.name.partition("/")
    return folder, [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _warn_of_gaps(export: Export, batches: list[Batch]) -> None:
    numbers: dict[str, set[int]] = {}
    for batch in batches:
        match = re.fullmatch(r"(.*)/batch-(\d+)\.jsonl\.gz", batch.name)
        if match:
            numbers.setdefault(match[1], set()).add(int(match[2]))
    for folder, present in numbers.items():
        absent = sorted(set(range(max(present))) - present) if max(present) < 10**6 else []
        if absent:
            logger.warning("%s: %s has no batch %s", export, folder, ", ".join(map(str, absent[:10])))


def _forget(export: Export, known: list[Batch], listed: list[Batch]) -> None:
    """Remove from the cache what is not known to be what the bucket has now."""
    for batch in {batch.name: batch for batch in [*known, *listed]}.values():
        if batch not in known or batch not in listed:
            path = export.path(batch)
            with _writing(path):
                path.unlink(missing_ok=True)


def _download(client: Client, export: Export, batch: Batch) -> None:
    answer = client.get(
        "/" + quote(export.prefix + batch.name),
        stored=True,
        longest=batch.size,
        check=lambda body: unpack(body, batch),
    )
    if answer.status != 200:
        raise answer.error("run the command again; what was fetched stays")
    _write(export.path(batch), answer.body)


def _content(export: Export, batch: Batch) -> bytes:
    path = export.path(batch)
    try:
        return unpack(path.read_bytes(), batch)
    except (Damaged, FileNotFoundError):
        logger.warning("%s is damaged or gone, and is fetched again", path)
    path.unlink(missing_ok=True)
    with Client(export.bucket) as client:
        _download(client, export, batch)
    return unpack(path.read_bytes(), batch)


def _row(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise FsrlError(f"{place}: not a JSON object; the export is broken, tell Neuronpedia")
    return row


def _write(path: Path, content: bytes) -> None:
    with _writing(path), atomic_write(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FsrlError(f"{path} cannot be written ({error.strerror}); choose another cache folder") from None


def _as_json(batches: list[Batch]) -> bytes:
    return json.dumps([asdict(batch) for batch in batches], indent=1).encode()


def _cached(export: Export) -> list[Batch]:
    """The batches of an export that is whole in the cache; none of any other."""
    known = _read_listing(export)
    return known if all(export.has(batch) for batch in known) else []


def _read_listing(export: Export) -> list[Batch]:
    """The batches that the cache knows; none where nothing was fetched."""
    path = export.folder / f"{export.kind}.json"
    if not path.is_file():
        return []
    try:
        return [Batch(**entry) for entry in json.loads(path.read_bytes())]
    except (ValueError, TypeError):
        raise FsrlError(f"{path} is no listing that fsrl wrote; delete it and run again") from None


# A source: its model and its name there.
Source = tuple[str, str]


def holds(model_id: str, source: str, kind: str, cache: str | Path | None = None) -> bool:
    """Whether the cache (None: the default one) holds every batch of an export (explanations, features).

    Asked before a run is planned, and so never of the network. Raises FsrlError for a listing in the cache
    that is broken.
    """
    return is_cached(Export.of(model_id, source, kind, cache, None))


def lacking(sources: Iterable[Source], kind: str, cache: str | Path | None = None) -> list[str]:
    """The sources ("gpt2-small/7-res-jb") whose export is not in the cache."""
    return ["/".join(source) for source in sources if not holds(*source, kind, cache)]
