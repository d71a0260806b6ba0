"""Macros for numbers: their text, ranges over layers, the config's numbers and rules, by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from fsrl.latex import studies as tex_studies
from fsrl.latex import text as tex
from fsrl.numbers import choices as numbers_choices
from fsrl.numbers import evidence as numbers_evidence
from fsrl.numbers import fixed as tex_numbers_fixed
from fsrl.numbers import headlines as tex_numbers
from fsrl.numbers import study as numbers_study
from fsrl.numbers.headlines import StudyTables
from fsrl.types.rules import parse_scheme, parse_schemes
from tests.fixtures.type_examples import CALIBRATED, UNIVERSAL_NEURONS, WHOLE

ROOT = Path(__file__).parents[2]


def test_macros_are_sorted_and_whole():
    text = tex_numbers.macros("gpt2-small", {"b.most": r"\num{2}", "a": "x"})
    assert text == "\\fsrldefine{gpt2-small}{a}{x}\n\\fsrldefine{gpt2-small}{b.most}{\\num{2}}\n"


@pytest.mark.parametrize("name", ["", "a b", "a}b", "a\\b", "a%", "-a", "a#1", "ä"])
def test_a_name_that_csname_would_not_give_back_is_refused(name):
    with pytest.raises(FsrlError, match="cannot name a number"):
        tex_numbers.macros("mini", {name: "1"})
    with pytest.raises(FsrlError, match="cannot name a number"):
        tex_numbers.macros(name, {})


def test_document_defines_the_commands_before_the_numbers():
    text = tex_numbers.document([tex_numbers.macros("a", {"b": "c"})])
    assert text.index(r"\fsrldefine}[3]") < text.index(r"\fsrldefine{a}{b}{c}")
    assert r"\PackageError{fsrl}" in text


def shown(value: float) -> str:
    return tex.number(value, digits=1)


def test_extremes_by_hand():
    values = pd.Series({"a": 2.0, "b": np.nan, "c": 1.0, "d": 2.0})
    assert tex_numbers.extremes(values, shown, str.upper) == {
        "range": r"\num{1.0} (hook C) to \num{2.0} (A)",
        "least": r"\num{1.0}",
        "least.layer": "C",
        "most": r"\num{2.0}",
        "most.layer": "A",
    }


def test_extremes_of_one_of_equals_and_of_none():
    assert tex_numbers.extremes(pd.Series({"a": 3.0}), shown, str)["range"] == r"\num{3.0} (hook a)"
    equal = pd.Series({"a": 3.01, "b": 2.99})
    assert tex_numbers.extremes(equal, shown, str)["range"] == r"\num{3.0} (each of \num{2} hooks)"
    nothing = tex_numbers.extremes(pd.Series({"a": np.nan}), shown, str)
    assert set(nothing.values()) == {tex.MISSING}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_extremes_are_those_of_a_loop(numbers):
    names = [f"layer{i}" for i in range(len(numbers))]
    found = tex_numbers.extremes(pd.Series(numbers, index=names), lambda value: str(float(value)), str)
    assert (float(found["least"]), float(found["most"])) == (min(numbers), max(numbers))
    assert found["most.layer"] == names[numbers.index(max(numbers))]


@pytest.mark.parametrize(
    ("items", "text"), [([], "none"), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_listed(items, text):
    assert tex_numbers.listed(items) == text


def test_a_headline_needs_its_tables_and_a_name_of_its_own():
    frame = pd.DataFrame()
    known = {
        "metadata": {},
        "tokens": frame,
        "summary": frame,
        "moments": {},
        "thresholds": {},
        "null": frame,
        "null_counts": {},
    }
    study = StudyTables("s", "s", "trained", "calibrated", **known)
    one = tex_numbers.Headline("x", ("summary", "claims"), lambda tables: "1")
    assert not one.fits(study)
    assert tex_numbers.Headline("x", ("summary",), lambda tables: "1").fits(study)
    with pytest.raises(FsrlError, match="two headlines x"):
        tex_numbers.study_values(study, [one, one])


@pytest.mark.parametrize("module", [numbers_study, numbers_evidence, numbers_choices])
def test_every_headline_is_listed_and_says_what_it_is_and_what_it_reads(module):
    defined = [value for value in vars(module).values() if isinstance(value, tex_numbers.Headline)]
    assert list(module.HEADLINES) == defined
    assert len(defined) > 2
    for one in defined:
        assert one.make.__doc__
        assert one.sources


def test_config_numbers_by_hand():
    config = {
        "claims": {"level": 0.05, "seed": 0, "on": True},
        "planted": {"strengths": [2, 12], "at": "mini", "studies": ["sign_flip", "b"]},
    }
    assert tex_numbers_fixed.config_values(config) == {
        "claims.level": r"\num{0.05}",
        "claims.level.percent": r"\num{5}\%",
        "claims.seed": r"\num{0}",
        "planted.studies": "sign flip and b",
        "planted.studies.count": r"\num{2}",
        "planted.strengths.least": r"\num{2}",
        "planted.strengths.most": r"\num{12}",
    }


def test_rules_by_hand():
    schemes = parse_schemes({"un_calibrated": CALIBRATED, "universal": UNIVERSAL_NEURONS})
    rows = tex_numbers_fixed.rule_rows(schemes).splitlines()
    right, left = "right or right kurtosis", "left or left kurtosis"
    share = r"$\num{0.25} \leq$ right share $\leq \num{0.75}$"
    assert rows[:6] == [
        r"un\_calibrated & partition & flat (each $q \leq \num{0.05}$) \\",
        rf" & two-sided & heavy, {share}; or ({right}) and ({left}) \\",
        rf" & local context & {right}; $m \leq \num{{20}}$ \\",
        rf" & prediction & {right} \\",
        rf" & suppression & {left} \\",
        r"\addlinespace",
    ]
    (whole,) = parse_schemes({"w": WHOLE})
    of = dict(
        row.removesuffix(r" \\").split(" & ")[1:] for row in tex_numbers_fixed.rule_rows([whole]).splitlines()
    )
    narrow = r"$m \leq \num{0.05}\,V$"
    assert of["prediction"] == rf"({right}) and {narrow}"
    spike = r", or eighth moment ($q \leq \num{0.01}$)"
    assert of["local context"] == rf"({right}) and {narrow}{spike}; $m \leq \num{{20}}$"
    assert of["suppression"] == rf"({left}) and {narrow}{spike} and $m \leq \num{{20}}$"
    assert rows[6].startswith(r"universal & prediction & $\kappa > \num{10}$")
    one = parse_scheme("s", {"types": {"partition": {"kurtosis": {"below": "q0.05"}}}})
    assert tex_numbers_fixed.rule_rows([one]) == r"s & partition & $\kappa < q_{0.05}$ \\"


def test_speed_and_record_are_those_of_the_saved_files():
    saved = json.loads((ROOT / "benchmarks/results/moments_cpu.json").read_text())
    speed = tex_numbers_fixed.speed_values(saved)
    ours = saved["timings"]["ours, fp32, moments"]["seconds"]
    tutorial = saved["timings"]["materialised (tutorial)"]["seconds"]
    assert speed["tutorial.times"] == rf"\num{{{tutorial / ours:.1f}}}"
    record = json.loads((ROOT / "data/mini/record.json").read_text())
    embedded = tex_numbers_fixed.embedded_values(record, 27_852_800)
    worst = min(record["saes"].values(), key=lambda sae: sae["explained_variance"])
    assert embedded["explained.least"] == rf"\num{{{worst['explained_variance']:.2f}}}"
    assert embedded["seen"] == r"\num{27.9}" and embedded["train"] == r"\num{35.4}"
    assert embedded["nats"] == rf"\num{{{record['model']['nats_per_token']:.2f}}}"


def test_studies_built_by_hand():
    studies = [
        {"name": "mini", "parts": ["effects"], "places": {"view": "trained"}},
        {"name": "b", "parts": [], "places": {}},
    ]
    lines = tex_studies.document(studies, ["GPT-2 & more"], "mini").splitlines()
    assert r"\newcommand{\builtstudies}{mini,b}" in lines
    assert r"\newcommand{\skippedstudies}{GPT-2 \& more}" in lines
    assert r"\expandafter\def\csname fsrl-part:mini:effects\endcsname{}" in lines
    assert r"\expandafter\def\csname fsrl-place:mini:view\endcsname{trained}" in lines
    assert [line for line in lines if "fsrl-part:b" in line] == [
        r"\expandafter\def\csname fsrl-part:b:built\endcsname{}"
    ]


def tables_of(**frames: pd.DataFrame) -> StudyTables:
    """A study of which the headline asked for reads these tables alone."""
    nothing = pd.DataFrame()
    known = {"metadata": {}, "tokens": nothing, "moments": {}, "thresholds": {}, "null_counts": {}}
    known |= {"summary": nothing, "null": nothing, "titles": {"neurons": "MLP & neurons"}}
    return StudyTables("mine", "mine", "trained", "calibrated", **(known | frames))


def test_other_dictionaries_in_a_sentence():
    rows = [
        ("mine", "all", 100, "typed", 50, 1.0, 0.5),
        ("neurons", "a", 40, "typed", 9, 9.0, 0.1),
        ("neurons", "all", 80, "partition", 3, 0.25, 0.0375),
        ("neurons", "all", 80, "prediction", 1, 1.5, 0.0125),
        ("neurons", "all", 80, "typed", 4, 1.6, 0.05),
    ]
    columns = ["study", "sae", "size", "type", "features", "expected", "share"]
    frame = pd.DataFrame(rows, columns=columns)
    assert numbers_study.dictionaries(tables_of(dictionaries=frame)) == {
        "told": r"\emph{MLP \& neurons} has \num{4} typed (\num{1.6}) of \num{80} features (\num{5.0}\%): "
        r"\num{3} partition (\num{0.2}) and \num{1} prediction (\num{1.5})"
    }


@pytest.mark.parametrize(
    ("isotropic", "every", "verdict"),
    [
        ([0.5, 0.5], [0.5, 0.1], "most of"),
        ([0.5, 0.5], [0.5, 0.0], "half or fewer of"),
        ([0, 0], [0, 0], "none of"),
    ],
)
def test_how_much_of_the_shape_both_nulls_leave(isotropic, every, verdict):
    summary = pd.DataFrame({"features": [10, 10], "kurtosis_above": isotropic})
    found = numbers_study.shape(tables_of(summary=summary.assign(kurtosis_above_every_null=every)))
    assert found["verdict"] == verdict
    assert found["isotropic"] == tex.count(int(10 * sum(isotropic)))


@pytest.mark.parametrize(
    ("share", "verdict"),
    [(0.04, "keeps its level"), (0.07, "nearly keeps its level"), (0.6, "finds what is not there")],
)
def test_whether_a_test_keeps_its_level(share, verdict):
    p = np.where(np.arange(1000) < 1000 * share, -2.0, 0.0)
    frame = pd.DataFrame({"kind": "turned", "log10_p": p, "log10_p_t": p, "log10_p_z": p})
    found = numbers_evidence.null_tests(tables_of(null_p_values=frame))
    assert found["turned.textbook.verdict"] == found["turned.own.verdict"] == verdict
    assert found["turned.textbook.strict.verdict"] == "keeps its level"


@pytest.mark.parametrize(
    ("lows", "verdict"),
    [
        ([0.1, 0.1, -0.1], "come nearer to the model"),
        ([0.1, -0.1, -0.1], "come nearer to the model at some hooks alone"),
        ([-0.1, -0.1, -0.1], "come no nearer to the model"),
    ],
)
def test_whether_transported_weights_come_nearer(lows, verdict):
    rows = {"sae": list("abc"), "over_direct_low": lows, "over_matched_high": 0.1}
    kind = {"state": "active", "step": "+1", "direction": "feature", "prediction": "transported"}
    frame = pd.DataFrame(rows).assign(**kind, pearson=0.5, slope=1.0)
    assert numbers_evidence.effect_transported(tables_of(by_hook=frame))["verdict"] == verdict


@pytest.mark.parametrize(("factor", "verdict"), [(2, "raise"), (1.02, "hardly change"), (0.5, "lower")])
def test_what_undertrained_tokens_do_to_the_null(factor, verdict):
    null = pd.DataFrame({"kind": "isotropic", "kurtosis": np.linspace(3, 5, 2000)})
    tables = tables_of(null=null, other_null=null.assign(kurtosis=factor * null["kurtosis"]))
    assert numbers_study.null_kurtosis_other(tables)["verdict"] == verdict
