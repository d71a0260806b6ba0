"""Arguments of public calls, checked before the work: else a library far below would speak of them first."""

import math
import numbers
import operator
import os
from collections.abc import Collection, Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from fsrl.errors import FsrlError, did_you_mean

LONGEST = 60  # characters of a wrong value that an error shows
# Bytes, on the file systems that there are.
LONGEST_NAME, LONGEST_PATH = 255, 4096
LARGEST = 2**63 - 1  # index that an array can have


def require(met: bool, place: str, name: str, value: object, wanted: str) -> None:
    """Raise FsrlError unless `met`: at which place `name` has this value, and what to give."""
    if not met:
        raise FsrlError(f"{place}: {name} is {shown(value)}; {wanted}")


def known_names(place: str, given: Iterable[object], known: Iterable[str]) -> None:
    """Raise FsrlError for the first of the given settings that is unknown, with the one that was meant."""
    known = list(known)
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known)
            raise FsrlError(f"{place}: unknown setting {name!r}{hint} (known: {', '.join(known)})")


def is_path(value: object) -> bool:
    """A text or a path, such as a file can have: too long a name and a null character are none's."""
    if not isinstance(value, str | PathLike):
        return False
    try:
        name = os.fsencode(value)
    except UnicodeEncodeError:  # half a character
        return False
    longest = max(map(len, name.split(b"/")))
    return b"\0" not in name and len(name) < LONGEST_PATH and longest <= LONGEST_NAME


def is_text(value: object) -> bool:
    """A text that can be written as UTF-8: half a character (a lone surrogate) cannot."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def listed(given: Any, place: str, name: str, wanted: str) -> list[Any]:
    """What a list, an array or anything else holds that can be gone through; FsrlError for what cannot."""
    try:
        items = iter(given)
    except (TypeError, RuntimeError):  # a number; a tensor without dimensions
        require(False, place, name, given, wanted)
        raise
    return list(items)


def ending(save_path: Any, what: str, endings: Collection[str]) -> None:
    """Raise FsrlError for a save_path that `what` cannot be written to: none, another ending, nowhere."""
    known = " or ".join(endings)
    require(
        isinstance(save_path, str | PathLike),
        what,
        "save_path",
        save_path,
        f"give a path that ends in {known}",
    )
    path = Path(save_path)
    if path.suffix.lower() not in endings:
        raise FsrlError(f"{path}: a {what} is written as {known}; change the file's ending")
    try:
        there = next(folder for folder in path.absolute().parents if folder.exists())
        met = not path.is_dir() and there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    except OSError:  # a name too long
        met = False
    if not met or "\0" in str(path):
        raise FsrlError(f"{path}: no {what} can be written there; give another path")


def is_whole(value: Any, least: int = 0) -> bool:
    """A whole number, numpy's and torch's too, not below `least`; True and False are none."""
    truth = isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")
    try:
        return not truth and operator.index(value) >= least
    except (TypeError, RuntimeError):  # torch's, of a tensor that holds no numbers (meta)
        return False


def feature(value: Any, n_features: int | None = None) -> int:
    """The index of a feature, of any kind of whole number; FsrlError for what is none (of so many)."""
    known = "" if n_features is None else f": the SAE has features 0 to {n_features - 1}"
    if not is_whole(value) or operator.index(value) > LARGEST:
        is_digits = isinstance(value, str) and value.isdecimal() and len(value) <= LONGEST
        wanted = f"the number {int(value)}" if is_digits else "a whole number from 0 on"
        raise FsrlError(f"{shown(value)} is no index of a feature; give {wanted}{known}")
    index = operator.index(value)
    if n_features is not None and index >= n_features:
        raise FsrlError(f"no feature {index}{known}")
    return index


def is_number(value: Any) -> bool:
    """A finite number, numpy's too; True and False are none."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and -math.inf < value < math.inf


def device(value: Any, place: str) -> Any:
    """The torch.device that `value` names; FsrlError for what is none, and for one that is not here."""
    import torch

    wanted = "give cpu, or a GPU of this machine, such as cuda"
    try:
        found = torch.device(value)
    except (RuntimeError, TypeError) as error:
        raise FsrlError(f"{place}: device is {shown(value)}; {wanted}") from error
    try:
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().split("\n")[0][:LONGEST]
        raise FsrlError(f"{place}: device {found} cannot be used ({reason}); {wanted}") from error
    return found


def shown(value: object) -> str:
    """The value on one line; of a tensor or table, which fill pages, the kind."""
    if hasattr(value, "shape"):
        return f"{type(value).__name__} of shape {list(value.shape)}"
    try:
        line = " ".join(repr(value).split())
    except ValueError:  # a number of more digits than Python writes
        return f"a too large {type(value).__name__}"
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
