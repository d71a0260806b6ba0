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
from fsrl.numbers import token_sets as numbers_token_sets
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


@pytest.mark.parametrize("module", [numbers_study, numbers_token_sets, numbers_evidence, numbers_choices])
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
    ("isotropic", "every", "lost", "elsewhere"),
    [
        ([0.5, 0.4], [0.5, 0.1], 1, 1),
        ([0.5, 0.4], [0.1, 0.4], 1, 0),
        ([0.5, 0.4], [0.1, 0.1], 2, 1),
        ([0.5, 0.4], [0.5, 0.4], 0, 0),
        ([0.0, 0.0], [0.0, 0.0], 0, 0),
    ],
)
def test_at_how_many_hooks_the_second_null_takes_shape_away(isotropic, every, lost, elsewhere):
    summary = pd.DataFrame({"sae": ["a", "b"], "features": [10, 10], "kurtosis_above": isotropic})
    found = numbers_study.shape(tables_of(summary=summary.assign(kurtosis_above_every_null=every)))
    counts = {"isotropic": round(10 * sum(isotropic)), "every": round(10 * sum(every)), "measured": 2}
    counts |= {"lost": lost, "lost-elsewhere": elsewhere}
    assert found == {name: tex.count(count) for name, count in counts.items()}


def test_the_hook_with_the_largest_share_of_types_and_its_part_of_all():
    summary = pd.DataFrame({"sae": ["a.hook_b", "a.hook_c"], "features": [10, 100]})
    summary = summary.assign(prediction=[6, 12], partition=[0, 2])
    counts = {"scheme": "calibrated", "type": ["prediction", "partition"], "kind": "isotropic"}
    frame = pd.DataFrame(counts).assign(expected_at_bounds=[0.5, 0.25])
    found = numbers_study.typed(tables_of(summary=summary, null_counts={"a": frame}))
    assert found["total"] == r"\num{20}" and found["most"] == r"\num{60.0}\%"
    assert found["most.of-all"] == r"\num{30.0}\%"  # 6 of 20
    none = summary.assign(prediction=0, partition=0)
    assert numbers_study.typed(tables_of(summary=none, null_counts={"a": frame}))["most.of-all"] == "--"


def test_what_share_of_features_with_a_set_would_have_a_type_by_chance():
    # Half of hook a's features and a tenth of b's have a type; of those with a set 8 lie in a and 2 in b.
    summary = pd.DataFrame({"sae": ["a", "b"], "features": [20, 20], "prediction": [10, 2]})
    rows = [
        (sae, name, label, count)
        for name in (None, "digits")
        for sae, label, count in (
            ("a", "prediction", 5),
            ("a", "unclassified", 3),
            ("b", "prediction", 1),
            ("b", "unclassified", 1),
        )
    ]
    frame = pd.DataFrame(rows, columns=["sae", "set", "type", "features"])
    found = numbers_token_sets.coverage(tables_of(set_coverage=frame, summary=summary))
    assert (found["features"], found["share"]) == (r"\num{10}", r"\num{60.0}\%")
    assert found["base"] == r"\num{42.0}\%"  # (8 x .5 + 2 x .1) / 10
    assert found["of-typed"] == r"\num{50.0}\%"  # 6 of 12
    nothing = frame.assign(features=0)
    found = numbers_token_sets.coverage(tables_of(set_coverage=nothing, summary=summary))
    assert (found["base"], found["share"], found["of-typed"]) == ("--", "--", r"\num{0.0}\%")


@pytest.mark.parametrize(
    ("turned", "shuffled", "verdict"),
    [
        (True, True, "keeps its level both where rows are turned and where sets are shuffled"),
        (True, False, "keeps its level where rows are turned and exceeds it where sets are shuffled"),
        (False, True, "keeps its level where sets are shuffled and exceeds it where rows are turned"),
        (False, False, "exceeds its level both where rows are turned and where sets are shuffled"),
    ],
)
def test_repetitions_of_nothing_are_those_of_all_hooks(turned, shuffled, verdict):
    rows = [
        ("a", "turned", None, 20, 7, 9, False),
        (None, "turned", None, 40, 2, 18, turned),
        (None, "shuffled", None, 30, 1, 5, shuffled),
        (None, "random", 5, 40, 9, 11, False),
    ]
    columns = ["sae", "kind", "tokens", "repetitions", "wrong", "wrong_student", "kept"]
    frame = pd.DataFrame(rows, columns=columns).astype({"tokens": "Int64"})
    assert numbers_token_sets.null_level(tables_of(null_level=frame)) == {
        "turned.repetitions": r"\num{40}",
        "turned.own": r"\num{2}",
        "turned.student": r"\num{18}",
        "shuffled.repetitions": r"\num{30}",
        "shuffled.own": r"\num{1}",
        "shuffled.student": r"\num{5}",
        "verdict": verdict,
    }


@pytest.mark.parametrize(
    ("share", "verdict"),
    [(0.04, "keeps its level"), (0.07, "nearly keeps its level"), (0.6, "exceeds its level")],
)
def test_whether_a_test_keeps_its_level(share, verdict):
    p = np.where(np.arange(1000) < 1000 * share, -2.0, 0.0)
    frame = pd.DataFrame({"kind": "turned", "log10_p": p, "log10_p_t": p, "log10_p_z": p})
    found = numbers_token_sets.null_tests(tables_of(null_p_values=frame))
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


def test_at_how_many_hooks_transport_exceeds_the_corrected_weights():
    kind = {"state": "active", "step": "+1", "direction": "feature"}
    frame = pd.DataFrame({"sae": list("abcabc"), "prediction": 3 * ["corrected"] + 3 * ["transported"]})
    frame["pearson"] = [0.5, 0.6, 0.7, 0.51, 0.6, 0.9]
    frame = frame.assign(**kind, slope=1.0, over_direct_low=0.1, over_matched_high=0.1)
    found = numbers_evidence.effect_transported(tables_of(by_hook=frame))
    assert (found["over-corrected"], found["measured"]) == (r"\num{2}", r"\num{3}")


def test_types_are_kept_where_enough_features_were_measured():
    rows = [
        ("a.hook_b", "prediction", 5, 0.25),
        ("a.hook_c", "prediction", 7, 0.5),
        ("a.hook_d", "prediction", 4, 1.0),
        ("a.hook_b", "suppression", 4, 0.5),
        ("a.hook_c", "suppression", 1, 1.0),
    ]
    frame = pd.DataFrame(rows, columns=["sae", "type", "features", "kept"])
    found = numbers_evidence.kept(tables_of(effects=frame.assign(state="active", step="+1")))
    assert found["fewest"] == r"\num{5}"
    assert (found["prediction.features"], found["prediction.most"]) == (r"\num{12}", r"\num{50}\%")
    assert found["prediction.said"] == found["prediction.range"] + r", \num{12} features"
    assert found["suppression.said"] == r"too few measured (\num{5})"
    assert found["suppression.range"] == "--"
    assert found["partition.said"] == r"too few measured (\num{0})"


def test_types_with_hooks_above_chance():
    names = ["partition", "two_sided", "local_context", "prediction", "suppression"]
    frame = pd.DataFrame({"scheme": "calibrated", "type": names, "layers_above_chance": [1, 0, 5, 4, 0]})
    found = numbers_study.above_chance(tables_of(stability=frame))
    assert found["found"] == r"partition \num{1}, local context \num{5} and prediction \num{4}"
    assert found["not-found"] == "two-sided and suppression"


def test_the_correlation_at_the_hook_with_the_largest_share_of_types():
    summary = pd.DataFrame({"sae": list("ab"), "features": [10, 10], "prediction": [2, 5]})
    rows = {"sae": list("ba"), "pearson": [0.25, 0.75]}
    frame = pd.DataFrame(rows).assign(type="all", state="active", step="+1")
    found = numbers_evidence.effect(tables_of(effects=frame, summary=summary))
    assert (found["most-typed"], found["most"]) == (r"\num{0.25}", r"\num{0.75}")


@pytest.mark.parametrize(("factor", "verdict"), [(2, "raise"), (1.02, "hardly change"), (0.5, "lower")])
def test_what_undertrained_tokens_do_to_the_null(factor, verdict):
    null = pd.DataFrame({"kind": "isotropic", "kurtosis": np.linspace(3, 5, 2000)})
    tables = tables_of(null=null, other_null=null.assign(kurtosis=factor * null["kurtosis"]))
    assert numbers_study.null_kurtosis_other(tables)["verdict"] == verdict
