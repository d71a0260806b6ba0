"""A study's results as a folder: data/, neuronpedia/, README.md, croissant.json, SHA256SUMS.

Written whole or not at all. The same tables give the same bytes: no time and no name of a machine's place is
in any file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fsrl import files
from fsrl.dataset import bulk, card, croissant, merge
from fsrl.dataset.card import About
from fsrl.dataset.merge import Part
from fsrl.errors import FsrlError
from fsrl.tables import core

SUMS = "SHA256SUMS"
# Keys of tables' metadata that say which weights and libraries they come from, and a word for each.
ORIGIN = {
    "model": "model",
    "model_revision": "its revision",
    "model_sha256": "sha256 of its weights",
    "release": "SAEs",
    "sae_revision": "their revision",
    "tokenizer": "tokenizer",
    "trained_tokens": "trained tokens",
    "torch": "torch",
    "transformers": "transformers",
    "transformer-lens": "transformer-lens",
    "sae-lens": "sae-lens",
}


def write(
    path: str | Path,
    about: About,
    tables: Mapping[str, Sequence[Part]],
    places: Mapping[str, tuple[str, str | None]],
) -> None:
    """Write the folder `path` of a study.

    about: without what is found here (made_from, neuronpedia); tables: name -> its parts; places: model and
    source at Neuronpedia of each SAE, in the order of the study; no source where it is not there: one is made
    up. Raises FsrlError as `merge.write` and `bulk.write`
    do, and for an SAE without a table of moments.
    """
    layers = {sae: int(_of_sae(tables, sae)["layer"]) for sae in places}
    with files.atomic_folder(path) as folder:
        (folder / "data").mkdir()
        merged = [
            merge.write(name, parts, layers, folder / f"data/{name}.parquet")
            for name, parts in tables.items()
        ]
        sources = _sources(about, tables, places)
        found = (
            bulk.write(folder / "neuronpedia", sources, about.name, f"fsrl-{about.study}") if sources else []
        )
        about = replace(about, made_from=_made_from(tables), neuronpedia=found)
        (folder / "README.md").write_text(card.text(about, merged), encoding="utf-8")
        (folder / "croissant.json").write_text(croissant.text(about, merged, folder), encoding="utf-8")
        (folder / SUMS).write_text(sums(folder), encoding="utf-8")


def sums(folder: Path) -> str:
    """SHA-256 of every file below a folder but SUMS, as sha256sum writes and checks them."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return "".join(f"{files.sha256(folder / name)}  {name}\n" for name in names if name != SUMS)


def _of_sae(tables: Mapping[str, Sequence[Part]], sae: str) -> dict[str, str]:
    """The metadata of an SAE's table of moments: they name its layer and hook."""
    for part in tables["moments"]:
        if part.sae == sae:
            return core.read_metadata(part.path)
    raise FsrlError(f"dataset: SAE {sae} has no table of moments; build it first")


def _made_from(tables: Mapping[str, Sequence[Part]]) -> dict[str, str]:
    same = merge.provenance(tables["moments"])["all"]
    return {word: same[key] for key, word in ORIGIN.items() if key in same}


def _sources(
    about: About, tables: Mapping[str, Sequence[Part]], places: Mapping[str, tuple[str, str | None]]
) -> list[bulk.Source]:
    """Each SAE in the view of the bulk layout; none where the study has no such view."""
    if about.neuronpedia_view is None:
        return []
    paths = {(name, part.sae, part.view): part.path for name, parts in tables.items() for part in parts}
    explained = {part.sae: part.path for part in tables.get("explanations", [])}
    view = about.neuronpedia_view
    found = []
    for sae, (model_id, name) in places.items():
        said = _of_sae(tables, sae)
        moments, extremes, histograms = (
            paths[table, sae, view] for table in ("moments", "extremes", "histograms")
        )
        found.append(
            bulk.Source(
                model_id,
                name or bulk.source_name(sae, int(said["layer"]), about.study),
                sae,
                said["hook"],
                moments,
                extremes,
                histograms,
                explained.get(sae),
            )
        )
    return found
