"""What the Snakefile must know of the config: is it sound, and which studies to build.

Every fault becomes one FsrlError that names its place in the config and the valid choices. The whole config
is checked before a job is planned, and nothing heavy is imported for it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError

from fsrl.errors import FsrlError, did_you_mean
from fsrl.types import rules as type_rules


def check(config: dict[str, Any], schema: Path) -> None:
    """Raise FsrlError at the first fault of `config`: against the schema, in its names, in its type rules."""
    _check_keys(config, "top level")
    validator = Draft202012Validator(yaml.safe_load(schema.read_text(encoding="utf-8")))
    errors = sorted(validator.iter_errors(config), key=lambda error: error.json_path)
    # A misspelt key is also a missing one: the misspelling is what to name.
    errors.sort(key=lambda error: error.validator != "additionalProperties")
    if errors:
        raise _schema_fault(errors[0])
    _check_names(config)
    try:
        type_rules.parse_schemes(config["types"]["schemes"], config["nulls"]["kinds"])
    except FsrlError as error:
        raise _fault("types.schemes", str(error)) from None


def studies(config: dict[str, Any]) -> list[str]:
    """The studies asked for: `study` where it is given, else all of `run`."""
    return [config["study"]] if "study" in config else config["run"]


def views_read(config: dict[str, Any], view: str) -> list[str]:
    """The views whose moments the schemes read when `view` is typed: itself first, then those they name."""
    named = [scheme["view"] for scheme in config["types"]["schemes"].values() if scheme["view"]]
    return list(dict.fromkeys([view, *named]))


def _fault(place: str, text: str) -> FsrlError:
    return FsrlError(f"config: {place}: {' '.join(text.split())}")


def _unknown(place: str, kind: str, name: str, known: Iterable[str]) -> FsrlError:
    known = list(known)
    hint = did_you_mean(name, known)
    return _fault(place, f"unknown {kind} {name!r}{hint} (known: {', '.join(known) or 'none'})")


def _check_keys(value: Any, place: str) -> None:
    """Every key is a name; YAML reads a bare 1, no or null as something else than text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise _fault(place, f"the key {key!r} is not text; put it in quotes")
            _check_keys(inner, key)


def _schema_fault(error: ValidationError) -> FsrlError:
    place = error.json_path.removeprefix("$").removeprefix(".") or "top level"
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        return _unknown(place, "key", next(key for key in error.instance if key not in known), known)
    if error.validator == "enum":
        choices = ", ".join(error.validator_value)
        return _fault(place, f"{error.instance!r} is not a choice; choose one of {choices}")
    if error.validator == "type":
        kinds = error.validator_value
        wanted = kinds if isinstance(kinds, str) else " or ".join(kinds)
        return _fault(place, f"{error.instance!r} must be of type {wanted}")
    return _fault(place, error.message)


def _check_names(config: dict[str, Any]) -> None:
    """Names that refer to another part of the config."""
    _check_known("study" if "study" in config else "run", "study", studies(config), config["studies"])
    types = config["types"]
    _check_known("types.default_scheme", "scheme", [types["default_scheme"]], types["schemes"])
    _check_known("enrichment.views", "view", config["enrichment"]["views"] or [], config["views"])
    _check_known("planted.studies", "study", config["planted"]["studies"], config["studies"])
    _check_known("effects.view", "view", [config["effects"]["view"]], config["views"])
    _check_known("explanations.view", "view", [config["explanations"]["view"]], config["views"])
    view = config["views"][config["effects"]["view"]]
    if view["w_u"] != "folded" or view["cosine"]:
        raise _fault("effects.view", "choose a view with w_u: folded, cosine: false, which predicts logits")
    for name, entry in config["studies"].items():
        study = config["study_defaults"] | entry
        place = f"studies.{name}"
        _check_known(f"{place}.views", "view", study["views"], config["views"])
        _check_known(f"{place}.figure_views", "view", study["figure_views"], study["views"])
        for scheme, rules in types["schemes"].items():
            read = [rules["view"]] if rules["view"] else []
            _check_known(f"types.schemes.{scheme}.view (study {name})", "view", read, study["views"])


def _check_known(place: str, kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise _unknown(place, kind, name, known)
