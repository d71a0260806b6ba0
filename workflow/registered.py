"""The file of predictions: is it sound, and which tables judge it. Each fault is one FsrlError."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import config_files
import settings
import studies
import yaml

from fsrl.errors import FsrlError, did_you_mean
from fsrl.predictions.judging import Key, needed
from fsrl.predictions.registered import Prediction, parse


@dataclass(frozen=True)
class Registered:
    """What the file holds: the day it was written, its entries as written, the same read."""

    day: str
    written: dict[str, Any]
    predictions: list[Prediction]


@dataclass(frozen=True)
class Plan:
    """What can be judged: the tables' paths by what names them; study -> why it cannot."""

    paths: dict[Key, str]
    not_run: dict[str, str]


def load(path: str, config: Mapping[str, Any], schema: Path) -> Registered:
    """Read the file and check it against the schema and the names of the config."""
    config_files.check([Path(path)], [])
    # YAML's own loader: the file was just found to be sound YAML without repeated keys.
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    rules = yaml.safe_load(schema.read_text(encoding="utf-8"))
    settings.check_against(content, rules, path)
    for name, entry in content["predictions"].items():
        kind = {"$defs": rules["$defs"], "$ref": f"#/$defs/{entry['kind']}"}
        settings.check_against(entry, kind, f"predictions.{name}")
    predictions = [parse(name, entry) for name, entry in content["predictions"].items()]
    for one in predictions:
        _check_names(one, config)
    return Registered(content["registered"], content["predictions"], predictions)


def _check_names(prediction: Prediction, config: Mapping[str, Any]) -> None:
    """Study, view, schemes and SAEs are the config's; the study's SAEs are asked of its release or folder."""
    place = f"config: predictions.{prediction.name}"
    _check_known(f"{place}.study", "study", [prediction.study], config["studies"])
    study = studies.resolve(prediction.study, dict(config))
    where = f" (study {study.name})"
    _check_known(f"{place}.view{where}", "view", [prediction.view], study.views)
    _check_known(f"{place}{where}", "scheme", prediction.test.schemes, config["types"]["schemes"])
    _check_known(f"{place}{where}", "SAE", prediction.test.saes, study.sae_ids)


def _check_known(place: str, kind: str, names: Sequence[str], known: Any) -> None:
    for name in names:
        if name not in known:
            raise FsrlError(
                f"{place}: there is no {kind} {name!r}{did_you_mean(name, known)} (known: {', '.join(known)})"
            )


def plan(
    registered: Registered,
    config: Mapping[str, Any],
    asked: Mapping[str, studies.Study],
    path_of: Callable[[Key], str],
) -> Plan:
    """Which tables judge which study: of a study that was asked for, whose weights are here, all that are
    needed, built first where they are not; of another those that stand, if all do.
    """
    paths: dict[Key, str] = {}
    not_run: dict[str, str] = {}
    for name in dict.fromkeys(one.study for one in registered.predictions):
        own = [one for one in registered.predictions if one.study == name]
        tables = {key: path_of(key) for one in own for key in needed(one)}
        study = asked.get(name) or studies.resolve(name, dict(config))
        lacking = study.lacks_weights()
        if (name in asked and not lacking) or all(map(os.path.isfile, tables.values())):
            paths |= tables
        elif lacking:
            not_run[name] = study.remedy()
        else:
            not_run[name] = (
                f"its tables are not built; `snakemake --cores 8 predictions --config study={name}` builds them"
            )
    return Plan(paths, not_run)
