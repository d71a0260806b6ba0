"""Null directions' moments on disk, so that a model's are drawn once for all notebooks that look at it.

The moments of isotropic directions follow from W_U as a view reads it, their number and their seed; a layer's
own from its decoder rows too. Each such table `null` is a file in ~/.cache/fsrl/nulls (or below
XDG_CACHE_HOME): its name and its metadata say what it was made from, by hashes. The variable FSRL_NULLS_CACHE
names another folder, or is "off", and nothing is kept. 100,000 directions are about 10 MB; delete files when
you like. A file that cannot be read is made again; one that cannot be written costs time and nothing else.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from fsrl import files
from fsrl._version import __version__
from fsrl.errors import FsrlError
from fsrl.tables import core as tables
from fsrl.tables.moments import NULL
from fsrl.weights.files import load, save

logger = logging.getLogger(__name__)

VARIABLE = "FSRL_NULLS_CACHE"
OFF = "off"
# Raised where the same directions would get other numbers.
FORMAT = "1"


def folder() -> Path | None:
    """Where tables are kept; None for nowhere."""
    named = os.environ.get(VARIABLE)
    if named == OFF:
        return None
    return Path(named) if named else files.user_cache() / "nulls"


def null(made_from: dict[str, str], make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table `null` (`fsrl.tables.moments.NULL`) that follows from this, made where it is not kept.

    made_from: all that decides it, hashes of matrices among them.
    """
    path, key = _place("null", made_from, ".parquet")
    if path is None:
        return make()
    if path.is_file():
        try:
            if tables.read_metadata(path) == key:
                return tables.read(path, NULL)
        except FsrlError as error:
            logger.warning("%s; it is made again", error)
    found = make()
    _keep(path, lambda: tables.write(found, path, NULL, key))
    return found


def trained(
    made_from: dict[str, str], make: Callable[[], tuple[torch.Tensor, str]]
) -> tuple[torch.Tensor, str]:
    """Which tokens are trained, bool [d_vocab], and in words how that was told, likewise."""
    path, key = _place("trained", made_from, ".safetensors")
    if path is None:
        return make()
    if path.is_file():
        try:
            tensors, header = load(path, "trained tokens")
            if header.get("made_from") == key:
                return tensors["trained"], header["description"]
        except (FsrlError, KeyError) as error:
            logger.warning("%s; it is made again", error)
    mask, description = make()
    header = {"made_from": key, "description": description}
    _keep(path, lambda: save(path, "trained tokens", {"trained": mask}, header))
    return mask, description


def _place(name: str, made_from: dict[str, str], ending: str) -> tuple[Path | None, dict[str, str]]:
    """The file, and what must stand in it: a name alone is short of the whole hash."""
    key = {**made_from, "fsrl": __version__, "format": FORMAT}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    kept = folder()
    return None if kept is None else kept / f"{name}-{digest[:24]}{ending}", key


def _keep(path: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except (FsrlError, OSError) as error:
        logger.warning("null directions are not kept for next time: %s (%s names a folder)", error, VARIABLE)
