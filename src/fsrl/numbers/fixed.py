"""Numbers of the paper that belong to no study: definitions, settings, benchmarks, the embedded model's
record.
"""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import pandas as pd

from fsrl import constants
from fsrl.effects import summary as effect_summary
from fsrl.latex import text as tex
from fsrl.numbers.headlines import extremes, listed
from fsrl.numbers.study import key_of, layer_name, words_of
from fsrl.types import summary
from fsrl.types.rules import ORDER, Condition, Scheme, TailScheme

DEFINED, CONFIG, SPEED, EMBEDDED, PROJECT = "defined", "config", "speed", "embedded", "project"
STAGES = "stages"
SYMBOLS = {
    "mean": r"\mu",
    "std": r"\sigma/\lVert d\rVert",
    "skewness": r"\gamma",
    "kurtosis": r"\kappa",
    "bimodality": "b",
    "tail_tokens": "m",
    "norm": r"\lVert d\rVert",
    "variance_x_d_model": r"D\sigma^2/\lVert d\rVert^2",
}


def defined_values() -> dict[str, str]:
    """Numbers that the library's definitions fix: no setting, and no result."""
    return {
        "tail": _plain(summary.TAIL),
        "tail.low": tex.number(1 - summary.TAIL, digits=3),
        "tail.percent": _percent(1 - summary.TAIL),
        "smallest-set": tex.count(constants.SMALLEST_SET),
        "random-set.least": tex.count(min(constants.RANDOM_SET_SIZES)),
        "random-set.most": tex.count(max(constants.RANDOM_SET_SIZES)),
        "tyler-steps": tex.count(constants.TYLER_STEPS),
        "shrinkage": _plain(constants.SHRINKAGE),
        "bootstrap.effects": tex.count(effect_summary.DRAWS),
        "interval": _percent(0.975 - 0.025),
        "shared-cosine": tex.number(constants.SHARED_COSINE, digits=1),
    }


def rule_rows(schemes: Iterable[Scheme | TailScheme]) -> str:
    """The rules of every scheme as rows of a table: scheme, type, rule."""
    rows = []
    for scheme in schemes:
        name = tex.escape(scheme.name)
        for label, conditions in _conditions(scheme):
            rows.append(rf"{name} & {words_of(label)} & {conditions} \\")
            name = ""
        rows.append(r"\addlinespace")
    return "\n".join(rows[:-1])


def _conditions(scheme: Scheme | TailScheme) -> list[tuple[str, str]]:
    """Each type of a scheme, in order of precedence, and its rule."""
    if isinstance(scheme, Scheme):
        known = [name for name in ORDER if name in scheme.rules]
        return [(name, "; ".join(map(_condition, scheme.rules[name]))) for name in known]
    level = rf"(each $q \leq \num{{{scheme.level:g}}}$)"
    few = rf"$m \leq \num{{{scheme.tail_tokens:g}}}$"
    share, rest = (rf"\num{{{one:g}}}" for one in (scheme.share, 1 - scheme.share))
    groups = ["right or right kurtosis", "left or left kurtosis"]
    sides = f"({groups[0]}) and ({groups[1]})"
    if scheme.tail_share is not None:
        groups = [rf"({group}) and $m \leq \num{{{scheme.tail_share:g}}}\,V$" for group in groups]
        sides = "both sides, each as below"
    spikes = ""
    if scheme.spike_level is not None:
        spikes = rf", or eighth moment ($q \leq \num{{{scheme.spike_level:g}}}$)"
    return [
        ("partition", f"flat {level}"),
        ("two_sided", rf"heavy, ${share} \leq$ right share $\leq {rest}$; or {sides}"),
        ("local_context", f"{groups[0]}{spikes}; {few}"),
        ("prediction", groups[0]),
        ("suppression", f"{groups[1]}{spikes and spikes + ' and ' + few}"),
    ]


def _condition(one: Condition) -> str:
    bound = one.bound
    value = rf"\num{{{bound.value:g}}}" if bound.kind == "absolute" else rf"q_{{{bound.value:g}}}"
    return f"${SYMBOLS[one.column]} {tex.SIGNS[one.word]} {value}$"


def config_values(config: Mapping[str, Any]) -> dict[str, str]:
    """Settings that the prose names: every number in the sections of the config, {section}.{key}...; key ->
    LaTeX.

    config: section -> its settings, as config/config.yaml has them. Of a list of numbers
    the least and the most, of one of names the names and how many they are.
    """
    values: dict[str, str] = {}
    for section, settings in config.items():
        _collect(values, key_of(section), settings)
    return values


def _collect(values: dict[str, str], key: str, setting: Any) -> None:
    if isinstance(setting, Mapping):
        for name, inner in setting.items():
            _collect(values, f"{key}.{key_of(str(name))}", inner)
    elif isinstance(setting, list) and setting and all(_is_number(item) for item in setting):
        values[f"{key}.least"], values[f"{key}.most"] = _plain(min(setting)), _plain(max(setting))
    elif isinstance(setting, list) and all(isinstance(item, str) for item in setting):
        values[key] = listed([words_of(item) for item in setting])
        values[f"{key}.count"] = tex.count(len(setting))
    elif _is_number(setting):
        values[key] = _plain(setting)
        if isinstance(setting, float) and 0 < setting < 1:
            values[f"{key}.percent"] = _percent(setting)


def _is_number(setting: Any) -> bool:
    return isinstance(setting, int | float) and not isinstance(setting, bool)


def _plain(value: float) -> str:
    """The number as the config writes it."""
    return rf"\num{{{value}}}"


def _percent(share: float) -> str:
    return rf"\num{{{100 * share:g}}}\%"


def speed_values(saved: Mapping[str, Any]) -> dict[str, str]:
    """Speed and memory of the moments at the shapes of GPT-2 small, from benchmarks/results/moments_cpu.json.

    Ratios are to the bare float32 product by torch.mm; memory is what comes on top of the inputs.
    """
    shape, timings, memory = saved["shape"], saved["timings"], saved["memory"]
    ours, everything = timings["ours, fp32, moments"], timings["ours, fp32, all"]
    tutorial = timings["materialised (tutorial)"]
    return {
        "n": tex.count(shape["n"]),
        "d-model": tex.count(shape["d_model"]),
        "d-vocab": tex.count(shape["d_vocab"]),
        "threads": tex.count(saved["machine"]["threads"]),
        "product.seconds": tex.number(timings["torch.mm product, tiled, fp32"]["seconds"], digits=1),
        "moments.ratio": tex.number(ours["ratio_to_torch_mm"], digits=2),
        "all.ratio": tex.number(everything["ratio_to_torch_mm"], digits=2),
        "tutorial.ratio": tex.number(tutorial["ratio_to_torch_mm"], digits=2),
        "tutorial.times": tex.number(tutorial["seconds"] / ours["seconds"], digits=1),
        "own-product.moments": tex.number(
            ours["seconds"] / timings["our product, fp32"]["seconds"], digits=2
        ),
        "memory.ours": tex.number(memory["ours, fp32, all"]["mib_above_inputs"], digits=0),
        "memory.tutorial": tex.number(memory["materialised (tutorial)"]["mib_above_inputs"], digits=0),
        "memory.tutorial.rows": tex.count(memory["materialised (tutorial)"]["rows"]),
    }


def stage_values(saved: Mapping[str, Any]) -> dict[str, str]:
    """Minutes of wall time of each stage for the embedded studies, from benchmarks/results/stages_cpu.json;
    a stage goes by its name with hyphens for what is no letter ("claims, thresholds": claims-thresholds).
    """
    return {
        re.sub(r"[^a-z]+", "-", name): tex.number(one["seconds"] / 60, digits=1)
        for name, one in saved["stages"].items()
    }


def tokens_seen(training: Mapping[str, Any], context: int) -> int:
    """Tokens that the embedded model was trained on: steps x windows of a step x tokens of a window.

    training: the config's train_mini.model; context: tokens of a window.
    """
    return int(training["steps"]) * int(training["windows_per_step"]) * context


def embedded_values(record: Mapping[str, Any], seen: int) -> dict[str, str]:
    """How good the embedded model and its SAEs are, from data/mini/record.json, which its training wrote.

    seen: tokens of the training text that the model saw; the trigram was fitted on all of it.
    """
    model, saes = record["model"], pd.DataFrame(record["saes"]).T
    values = {
        "nats": tex.number(model["nats_per_token"], digits=2),
        "trigram": tex.number(model["trigram_nats_per_token"], digits=2),
        "difference": tex.number(model["below_trigram"], digits=2),
        "held-out": tex.count(model["held_out_tokens"]),
        "train": tex.number(model["train_tokens"] / 1e6, digits=1),
        "seen": tex.number(seen / 1e6, digits=1),
    }
    shown = {
        "explained": ("explained_variance", 2),
        "recovered": ("ce_recovered", 2),
        "l0": ("l0", 0),
    }
    for name, (column, digits) in shown.items():
        found = extremes(saes[column], partial(tex.number, digits=digits), layer_name)
        values |= {f"{name}.{part}": value for part, value in found.items()}
    values["dead.most"] = tex.percent(float(saes["dead_share"].max()))
    return values


def project_values(citation: Mapping[str, Any]) -> dict[str, str]:
    """What CITATION.cff says of the project: title, version, and the date of this version in two forms.

    `root` is where links to its files begin: the repository's address, else the folder above the paper.
    """
    date = str(citation["date-released"])
    root = f"{citation['repository-code']}/blob/HEAD" if "repository-code" in citation else ".."
    question, _, subtitle = citation["title"].partition("? ")
    return {
        "title": tex.escape(f"{question}?"),
        "subtitle": tex.escape(subtitle),
        "version": tex.escape(str(citation["version"])),
        "date": date,
        "pdfdate": f"D:{date.replace('-', '')}000000Z",
        "keywords": tex.escape(", ".join(citation["keywords"])),
        "root": root,
    }
