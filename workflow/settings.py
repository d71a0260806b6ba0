"""What the Snakefile must know of the config: is it sound, and which studies to build.

Every fault becomes one FsrlError that names its place in the config and the valid choices. The whole config
is checked before a job is planned, and nothing heavy is imported for it.
"""

import math
import re
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from fsrl import devices
from fsrl.arguments import shown
from fsrl.errors import FsrlError, did_you_mean
from fsrl.latex import text as tex
from fsrl.types import rules as type_rules

# jsonschema makes 38 parsers from grammars for formats of addresses, which no schema here names: a second of
# every plan. It does without where this module cannot be imported, as one that is None.
SYNTAX = "rfc3987_syntax"
_hidden = sys.modules.setdefault(SYNTAX, None) is None  # type: ignore[arg-type]
from jsonschema import Draft202012Validator, ValidationError, validators  # noqa: E402

if _hidden:
    del sys.modules[SYNTAX]

# What a title may be so long as a column of a figure and a line of the paper hold it, in printed characters.
LONGEST_TITLE, LONGEST_WORD = 80, 24
# Folders of results/{study} beside those of SAEs.
BESIDE_SAES = (
    "browser",
    "claims",
    "dataset",
    "discoveries",
    "explanations",
    "fresh_nulls",
    "null_p_values",
    "null_quantiles",
    "nulls",
    "planted",
    "sensitivity",
    "set_coverage",
    "summary",
)
# Windows keeps these names to itself, with any ending.
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def check(config: dict[str, Any], schema: Path) -> None:
    """Raise FsrlError at the first fault of `config`: against the schema, in its names, in its type rules."""
    if isinstance(effects := config.get("effects"), dict) and "device" in effects:
        raise _fault("effects.device", "one device serves every stage; move it to `device` at the top level")
    _raise_first(config, _validator(schema), "")
    _check_folders(config)
    _check_names(config)
    for name, study in config["studies"].items():
        _check_title(study.get("title", name), f"studies.{name}.title")
    _check_patterns(config["token_sets"]["extra"])
    try:
        type_rules.parse_schemes(config["types"]["schemes"])
    except FsrlError as error:
        raise _fault("types.schemes", str(error)) from None


def predictions(path: str, schema: Path) -> dict[str, Any]:
    """The file of predictions; FsrlError at its first fault against the schema: for each kind its own."""
    content = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig"))
    _raise_first(content, _validator(schema), "")
    kinds = yaml.safe_load(schema.read_text(encoding="utf-8"))["$defs"]
    for name, entry in content["predictions"].items():
        of_kind = _strict()({"$defs": kinds, "$ref": f"#/$defs/{entry['kind']}"})
        _raise_first(entry, of_kind, f"predictions.{name}")
    return content


def studies(config: dict[str, Any]) -> list[str]:
    """The studies asked for: `study` where it is given, else all of `run`."""
    return [config["study"]] if "study" in config else config["run"]


def gpus(device: str, *, elsewhere: bool) -> int:
    """How many GPUs a job of heavy work claims: 1 or 0; FsrlError for cuda on a machine without a GPU.

    elsewhere: whether other machines run the jobs; of them nothing is known, so `auto` claims none there (and
    rules/common.smk hides those that a node shows).
    """
    if device == "cpu" or (elsewhere and device == "auto"):
        return 0
    found = elsewhere or devices.at_hand()
    if device == "cuda" and not found:
        raise devices.lacking()
    return int(found)


def views_read(config: dict[str, Any], view: str) -> list[str]:
    """The views whose moments the schemes read when `view` is typed: itself first, then those they name."""
    named = [scheme["view"] for scheme in config["types"]["schemes"].values() if scheme.get("view")]
    return list(dict.fromkeys([view, *named]))


def check_saes(study: str, sae_ids: Iterable[str]) -> None:
    """Raise FsrlError for an SAE of whose id no folder of results can be made; a release's may hold a "/"."""
    for sae_id in sae_ids:
        _check_name(sae_id, f"studies.{study}.saes")
        if sae_id in BESIDE_SAES:
            raise _fault(
                f"studies.{study}.saes", f"{sae_id!r} is the name of another folder of results; rename it"
            )


_NAMES = (
    "take at most 100 letters, digits and _ . -, the first a letter or digit, and no name of a system's own"
)


@cache
def _validator(schema: Path) -> Any:
    return _strict()(yaml.safe_load(schema.read_text(encoding="utf-8")))


def _strict() -> Any:
    """JSON Schema takes 100.0 for an integer; Python's range does not."""
    strict = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    return validators.extend(Draft202012Validator, type_checker=strict)


def _raise_first(value: Any, validator: Any, under: str) -> None:
    _check_keys(value, under or "top level")
    _check_finite(value, under)
    errors = sorted(validator.iter_errors(value), key=lambda error: error.json_path)
    # A misspelt key is also a missing one: the misspelling is what to name.
    errors.sort(key=lambda error: error.validator != "additionalProperties")
    if errors:
        raise _schema_fault(errors[0], under)


def _fault(place: str, text: str) -> FsrlError:
    return FsrlError(f"config: {place}: {' '.join(text.split())}")


def _unknown(place: str, kind: str, name: str, known: Iterable[str]) -> FsrlError:
    known = list(known)
    hint = did_you_mean(name, known)
    return _fault(place, f"unknown {kind} {shown(name)}{hint} (known: {', '.join(known) or 'none'})")


def _check_keys(value: Any, place: str) -> None:
    """Every key is a name; YAML reads a bare 1, no or null as something else than text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise _fault(place, f"the key {key!r} is not text; put it in quotes")
            _check_keys(inner, key)


def _check_finite(value: Any, place: str) -> None:
    """NaN passes every comparison of a schema."""
    if isinstance(value, float) and not math.isfinite(value):
        raise _fault(place, f"{value} is no number to compute with; write a finite one")
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        _check_finite(one, f"{place}.{key}".removeprefix("."))


def _schema_fault(error: ValidationError, under: str = "") -> FsrlError:
    within = error.json_path.removeprefix("$").removeprefix(".")
    place = ".".join(filter(None, [under, within])) or "top level"
    value = error.instance
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        return _unknown(place, "key", next(key for key in value if key not in known), known)
    if error.validator == "enum":
        choices = ", ".join(error.validator_value)
        return _fault(place, f"{shown(value)} is not a choice; choose one of {choices}")
    if error.validator == "type":
        kinds = error.validator_value
        wanted = kinds if isinstance(kinds, str) else " or ".join(kinds)
        return _fault(place, f"{shown(value)} must be of type {wanted}{_hint(value, wanted)}")
    if error.validator == "anyOf":  # null or something else, which says what is wrong
        return _schema_fault(next(one for one in error.context if one.schema.get("type") != "null"), under)
    if error.validator in ("pattern", "maxLength"):
        return _fault(place, f"{shown(value)} cannot be used here: {_rule(error.schema)}")
    if error.validator == "not":
        return _fault(place, f"{shown(value)} is the name of another folder there; choose another")
    if error.validator in ("minItems", "minProperties", "minLength"):
        return _fault(place, f"{shown(value)} is empty; give at least one entry")
    return _fault(place, error.message)


def _rule(schema: dict[str, Any]) -> str:
    """What a text must be, in words."""
    definitions = {"{": "take a path without braces and control characters", r"\S": "write a word"}
    definitions |= {"_[a-z0-9]+": "take at most 100 characters, lower_case_with_underscores"}
    found = [words for part, words in definitions.items() if part in schema.get("pattern", "")]
    return found[0] if found else _NAMES


def _hint(value: Any, wanted: str) -> str:
    """What YAML made of a value that was meant otherwise."""
    if wanted == "integer" and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    if wanted in ("integer", "number") and isinstance(value, str) and re.fullmatch(r"\d+[eE]\d+", value):
        return f"; YAML reads {value} as text, write the number out"
    if wanted == "string" and isinstance(value, bool | int | float):
        return "; put it in quotes"
    return ""


def _check_names(config: dict[str, Any]) -> None:
    """Names that refer to another part of the config."""
    _check_known("study" if "study" in config else "run", "study", studies(config), config["studies"])
    types = config["types"]
    _check_known("types.default_scheme", "scheme", [types["default_scheme"]], types["schemes"])
    _check_known("enrichment.views", "view", config["enrichment"]["views"] or [], config["views"])
    _check_known("ablations.studies", "study", config["ablations"]["studies"], config["studies"])
    _check_known("planted.studies", "study", config["planted"]["studies"], config["studies"])
    _check_known("browser.studies", "study", config["browser"]["studies"], config["studies"])
    _check_known("notebooks.studies", "study", config["notebooks"]["studies"], config["studies"])
    _check_known("effects.view", "view", [config["effects"]["view"]], config["views"])
    _check_known("explanations.view", "view", [config["explanations"]["view"]], config["views"])
    _check_known("dataset.neuronpedia_views", "view", config["dataset"]["neuronpedia_views"], config["views"])
    view = config["views"][config["effects"]["view"]]
    if view["w_u"] != "folded" or view["cosine"] or "transport" in view:
        raise _fault(
            "effects.view",
            "choose a view with w_u: folded, cosine: false and no transport, which predicts logits",
        )
    carried = [name for name, view in config["views"].items() if "transport" in view]
    for name, entry in config["studies"].items():
        study = config["study_defaults"] | entry
        place = f"studies.{name}"
        _check_known(f"{place}.views", "view", study["views"], config["views"])
        _check_known(f"{place}.figure_views", "view", study["figure_views"], study["views"])
        if study["figure_views"][0] in carried:
            raise _fault(
                f"{place}.figure_views",
                f"the first is the paper's, and {study['figure_views'][0]} has transport; put another first",
            )
        for scheme, rules in types["schemes"].items():
            read = [rules["view"]] if rules.get("view") else []
            _check_known(f"types.schemes.{scheme}.view (study {name})", "view", read, study["views"])


def _check_known(place: str, kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise _unknown(place, kind, name, known)


def _check_name(name: str, place: str) -> None:
    """A name of which no folder can be made, here or elsewhere, or that Snakemake reads as a wildcard."""
    for part in name.split("/"):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", part) or RESERVED.fullmatch(part):
            raise _fault(place, f"{shown(name)} cannot be used here: {_NAMES}")


def _check_folders(config: dict[str, Any]) -> None:
    """Names that become folders."""
    for place, names in (("studies", config["studies"]), ("views", config["views"])):
        seen: dict[str, str] = {}
        for name in names:
            _check_name(name, place)
            other = seen.setdefault(name.lower(), name)
            if other != name:
                raise _fault(
                    place,
                    f"{other!r} and {name!r} are one folder where capitals do not count; rename one of them",
                )


def _check_title(title: str, place: str) -> None:
    """Figures and the paper set it on one line or two, and a word is not broken."""
    if any(unicodedata.category(char)[0] in "CZ" and char != " " for char in title) or not title.strip():
        raise _fault(place, f"{shown(title)} is no line of text; leave out what is invisible")
    printed = tex.printed(title)
    longest = max(re.split(r"[ -]", printed), key=len)
    if len(printed) > LONGEST_TITLE or len(longest) > LONGEST_WORD:
        raise _fault(
            place,
            f"{shown(title)} is too long for figures and paper; take at most {LONGEST_TITLE} characters in "
            f"words of at most {LONGEST_WORD} (in the paper: {shown(printed)})",
        )


def _check_patterns(extra: dict[str, dict[str, Any]]) -> None:
    for name, settings in extra.items():
        try:
            re.compile(settings.get("regex", ""))
        except (re.error, RecursionError, OverflowError) as error:
            raise _fault(
                f"token_sets.extra.{name}.regex",
                f"{shown(settings['regex'])} is no regular expression ({error}); correct it",
            ) from None
