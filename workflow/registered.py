"""The file of predictions: are its names known, and which tables judge it. Each fault is one FsrlError."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fsrl.errors import FsrlError, did_you_mean
from fsrl.predictions.judging import Key, needed
from fsrl.predictions.registered import Prediction, parse


class Study(Protocol):
    """What is asked of a study of the config (`studies.Study`)."""

    name: str
    views: list[str]

    @property
    def sae_ids(self) -> list[str]: ...

    def lacks_weights(self) -> bool: ...

    def remedy(self) -> str: ...


@dataclass(frozen=True)
class Plan:
    """What can be judged: the tables' paths by what names them; study -> why it cannot."""

    paths: dict[Key, str]
    not_run: dict[str, str]


def read(
    written: Mapping[str, Any], config: Mapping[str, Any], resolve: Callable[[str], Study]
) -> list[Prediction]:
    """The predictions of a file that the schema has checked; FsrlError for names that the config lacks.

    resolve: a study of the config by its name; its SAEs are asked of their release or folder.
    """
    predictions = [parse(name, entry) for name, entry in written.items()]
    for one in predictions:
        place = f"predictions.{one.name}"
        _check_known(f"{place}.study", "study", [one.study], config["studies"])
        study = resolve(one.study)
        place += f" (study {study.name})"
        _check_known(place, "view", [one.view], study.views)
        _check_known(place, "scheme", one.test.schemes, config["types"]["schemes"])
        _check_known(place, "SAE", one.test.saes, study.sae_ids)
    return predictions


def _check_known(place: str, kind: str, names: Collection[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise FsrlError(f"{place}: there is no {kind} {name!r}{hint} (known: {', '.join(known)})")


def plan(
    predictions: Collection[Prediction],
    resolve: Callable[[str], Study],
    *,
    asked: Collection[str],
    path_of: Callable[[Key], str],
) -> Plan:
    """Which tables judge which study: of a study that was asked for, whose weights are here, all that are
    needed, built first where they are not; of another those that stand, if all do.
    """
    paths: dict[Key, str] = {}
    not_run: dict[str, str] = {}
    for name in dict.fromkeys(one.study for one in predictions):
        tables = {key: path_of(key) for one in predictions if one.study == name for key in needed(one)}
        study = resolve(name)
        lacking = study.lacks_weights()
        if (name in asked and not lacking) or all(map(os.path.isfile, tables.values())):
            paths |= tables
        elif lacking:
            not_run[name] = study.remedy()
        else:
            build = f"snakemake --cores 8 predictions --config study={name}"
            not_run[name] = f"its tables are not built; `{build}` builds them"
    return Plan(paths, not_run)
