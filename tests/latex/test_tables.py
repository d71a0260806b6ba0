"""The LaTeX tables: every number against a naive way to it, and the form that booktabs and siunitx want."""

import json
import math
import re
import statistics
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from fsrl.errors import FsrlError
from fsrl.latex import counterparts as tex_tables_counterparts
from fsrl.latex import dictionaries as tex_tables_dictionaries
from fsrl.latex import speed as tex_tables_speed
from fsrl.latex import study as tex_tables_study
from fsrl.latex import table as tex_tables
from fsrl.latex import text as tex
from fsrl.latex import types as tex_tables_types
from fsrl.latex.table import Column
from fsrl.names import BOUNDING
from fsrl.types.counterparts import counterparts
from tests.fixtures import tex_examples as ex
from tests.fixtures.plot_tables import TYPES, compared, null_counts
from tests.fixtures.tex_examples import close


def quantile(values: list[float], level: float) -> float:
    """Linear between the two nearest order statistics, by hand."""
    ordered = sorted(values)
    at = (len(ordered) - 1) * level
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


class TestLayout:
    def test_the_form(self):
        made = tex_tables.tabular(
            [
                Column("Name", ["a", "b"]),
                Column("$x$", ["-1.25", "{--}"], "S"),
                Column("", ["[0]", ""], near=True),
                Column("Long", ["text", "text"], "20mm"),
            ],
            groups=[("", 1), ("both", 2), ("", 1)],
            headings={1: "more"},
            rules=[],
        )
        assert made.splitlines() == [
            r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}%",
            r"\begin{tabular}{@{}l !{\hspace{4pt}}S[table-format=-1.2] @{\hspace{2pt}}l "
            r"!{\hspace{4pt}}>{\raggedright\arraybackslash}p{20mm}@{}}",
            r"\toprule",
            r"\multicolumn{1}{c}{} & \multicolumn{2}{c}{both} & \multicolumn{1}{c}{} \\",
            r"\cmidrule(lr){2-3}",
            r"{Name} & \multicolumn{2}{c}{$x$} & {Long} \\",
            r"\midrule",
            r"a & -1.25 & [0] & text \\",
            r"\addlinespace",
            r"\multicolumn{4}{@{}l@{}}{more} \\",
            r"b & {--} &  & text \\",
            r"\bottomrule",
            r"\end{tabular}%",
            r"\endgroup%",
        ]

    @pytest.mark.parametrize(
        ("cells", "form"),
        [
            (["1", "20", "{--}"], "2.0"),
            (["-0.5", "10.25"], "-2.2"),
            (["1.2e-10", "3e4"], "1.1e-2"),
            (["{--}"], "1.0"),
        ],
    )
    def test_room_for_the_figures(self, cells, form):
        assert tex_tables.table_format(cells) == form

    def test_what_does_not_fit_together_is_refused(self):
        with pytest.raises(FsrlError, match="equally long"):
            tex_tables.tabular([Column("", ["a"]), Column("", [])])
        with pytest.raises(FsrlError, match="span 3 columns of 1"):
            tex_tables.tabular([Column("", ["a"])], groups=[("x", 3)])

    def test_written_whole_with_its_sources(self, tmp_path):
        tex_tables.write(tmp_path / "t.tex", "table é\n", ["study mini"])
        assert (tmp_path / "t.tex").read_bytes().decode() == (
            "% Written by fsrl; do not edit. From:\n% study mini\ntable é\n"
        )


class TestStudy:
    def test_what_it_is_made_of(self):
        made = tex_tables_study.studies(ex.metadata(), dict.fromkeys(ex.HOOKS, 24576), "GPT-2 & co")
        found = {row[0].removeprefix(r"\quad "): row[1] for row in ex.rows(made)}
        assert found["Study"] == r"GPT-2 \& co"
        assert found["Model"] == r"\texttt{openai\_community/gpt2\_\&\_co}"
        assert found["number"] == r"\num{13} (0 pre to 11 post)"
        assert found["features of each"] == r"\num{24576}"
        assert found["$W_U$"] == r"folded: ln\_f.weight folded in, centred over d\_model"
        assert found["vocabulary"].startswith(r"\num{50257} tokens; trained ones used (at least 100")
        assert r"\texttt{b533ba679e74}; SHA-256 \texttt{aaaaaaaaaaaa} \\" in made
        assert r"\texttt{0123456789ab}; SHA-256 of each SAE" in found["revision"]

    def test_neurons_have_no_files_of_their_own(self):
        of_saes = ("sae_revision", "sae_sha256", "sae_architecture", "decoder_scaling")
        rows = {
            hook: {key: value for key, value in row.items() if key not in of_saes}
            | {"release": "none: MLP neurons", "decoder_mapping": "rows of W_out"}
            for hook, row in ex.metadata().items()
        }
        made = tex_tables_study.studies(rows, dict.fromkeys(ex.HOOKS, 3072), "t")
        found = {row[0].removeprefix(r"\quad "): row[1] for row in ex.rows(made)}
        assert found["Directions"] == "MLP neurons" and found["features of each"] == r"\num{3072}"
        assert found["decoder rows"] == r"mapping: rows of W\_out; scaling: none"
        assert "SAEs" not in found

    def test_of_transcoders_it_says_where_they_read_and_write(self):
        reads = "blocks.3.ln2.hook_normalized"
        said = {"encoder_hook": f"{reads}: a transcoder, whose decoder writes elsewhere"}
        said |= {"hook": "blocks.3.hook_mlp_out"}
        rows = {hook: row | said for hook, row in ex.metadata().items()}
        made = tex_tables_study.studies(rows, dict.fromkeys(ex.HOOKS, 3072), "t")
        found = {row[0].removeprefix(r"\quad "): row[1] for row in ex.rows(made)}
        assert "SAEs" not in found and "Transcoders" in found
        assert found["places"] == (
            r"the first reads \texttt{blocks.3.ln2.hook\_normalized}, "
            r"writes \texttt{blocks.3.hook\_mlp\_out}, whose rows are studied"
        )

    def test_widths_that_differ_and_other_views(self):
        view = json.dumps({"cosine": True, "tokens": "all", "w_u": "raw"})
        rows = {hook: row | {"view": view} for hook, row in ex.metadata().items()}
        features = {hook: 768 * 2**i for i, hook in enumerate(ex.HOOKS)}
        made = tex_tables_study.studies(rows, features, "t")
        assert rf"\num{{768}} to \num{{{768 * 4096}}}" in made
        assert "raw: as stored; cosines" in made
        assert "all of them used" in made

    def test_quantiles_of_each_layer(self):
        layers, null = ex.of("moments"), next(iter(ex.of("null").values()))
        found = ex.rows(tex_tables_study.moments_by_layer(layers, null))
        assert [row[0] for row in found] == [*(f"{i} pre" for i in range(12)), "11 post", "chance"]
        for row, frame in zip(found, [*layers.values(), null], strict=True):
            assert int(row[1]) == len(frame)
            std = [s / n for s, n in zip(frame["std"], frame["norm"], strict=True) if n > 0]
            shapes = [[v for v in frame[name] if not math.isnan(v)] for name in ("skewness", "kurtosis")]
            for at, values, digits in zip((2, 6, 10), (std, *shapes), (3, 2, 2), strict=True):
                levels = [quantile(values, level) for level in (0.05, 0.5, 0.95, 0.999)]
                close(row[at : at + 4], levels, digits)


def by_kind(counts):
    """What each of the bounding kinds gives."""
    found = {hook: null_counts(frame) for hook, frame in counts.items()}
    return {hook: frame[frame["kind"].isin(BOUNDING)].reset_index(drop=True) for hook, frame in found.items()}


class TestTypes:
    def test_counterparts_of_the_first_study_alone(self):
        frame = counterparts(ex.dictionaries_of_one_place())
        titles = {"gpt2-small": "Own", "splitting": "Other & others"}
        made = tex_tables_counterparts.counterparts(frame, titles)
        assert r"\emph{8 pre (40) in 8 pre (60) of Other \& others}" in made
        assert "of Own" not in made
        assert made.count(r"\quad any type") == made.count(r"\quad none") == 1
        typed = frame[(frame["study"] == "gpt2-small") & (frame["type"] == "typed")].iloc[0]
        [row] = [line for line in made.splitlines() if r"\quad any type" in line]
        cells = [cell.strip(" \\") for cell in row.split("&")]
        assert cells[1:3] == [str(typed["features"]), str(typed["counterparts"])]
        assert cells[4] == str(typed["alike"])
        # A model whose dictionaries share no place has none.
        assert "No two" in tex_tables_counterparts.counterparts(frame.iloc[:0], titles)

    def test_dictionaries_side_by_side(self):
        counts = ex.of("type_counts")
        frame = compared({"a": counts, "b": dict(list(counts.items())[:2])}, ex.SCHEME)
        made = tex_tables_dictionaries.dictionaries(frame, {"a": "SAEs & co", "b": "MLP neurons"})
        found = ex.rows(made)
        assert r"\emph{SAEs \& co}" in made and r"\emph{MLP neurons}" in made
        assert [row[0].removeprefix(r"\quad ") for row in found] == [
            *(f"{i} pre" for i in range(12)),
            *("11 post", "all layers", "0 pre", "1 pre", "all layers"),
        ]
        for row, hook in zip(found, ex.HOOKS, strict=False):
            rows = counts[hook][counts[hook]["scheme"] == ex.SCHEME].set_index("type")
            assert int(row[1]) == rows["features"].sum() == ex.FEATURES
            for i, name in enumerate(TYPES):
                assert int(row[2 + 2 * i]) == rows.loc[name, "features"]
                close([row[3 + 2 * i]], [rows.loc[name, "expected"]], 1)
            typed = rows.loc[list(TYPES), "features"].sum()
            assert int(row[-3]) == typed
            close([row[-1]], [100 * typed / ex.FEATURES], 1)

    def test_counts_with_intervals_and_chance(self):
        counts, types = ex.of("type_counts"), ex.of("types")
        found = ex.rows(tex_tables_types.types_by_layer(counts, types, by_kind(counts), ex.SCHEME))
        everything = Counter()
        for row, hook in zip(found, ex.HOOKS, strict=False):
            mine = types[hook][types[hook]["scheme"] == ex.SCHEME]
            labels = Counter(mine["type"])
            everything += labels
            assert int(row[1]) == ex.FEATURES
            for i, name in enumerate(TYPES):
                assert int(row[2 + 3 * i]) == labels[name]
                ends = [float(end) for end in re.findall(r"\\num\{([^}]*)\}", row[3 + 3 * i])]
                assert ends == pytest.approx([0.8 * labels[name], 1.2 * labels[name]], abs=0.51)
                close(row[4 + 3 * i : 5 + 3 * i], [0.001 * ex.FEATURES], 1)
            assert int(row[17]) == labels["unclassified"]
            assert int(row[18]) == sum(sum(flags) > 1 for flags in mine[list(TYPES)].itertuples(index=False))
        assert found[-1][0] == "all"
        assert [int(found[-1][2 + 3 * i]) for i in range(5)] == [everything[name] for name in TYPES]
        assert int(found[-1][1]) == ex.FEATURES * len(ex.HOOKS)

    def test_chance_of_all_hooks_is_that_of_one_null(self):
        """Each null leads at one hook: the sum is 5 + 1 or 2 + 3, never 5 + 3."""
        pair = ex.HOOKS[:2]
        counts, types = ({hook: ex.of(name)[hook] for hook in pair} for name in ("type_counts", "types"))
        nulls = by_kind(counts)
        given = {"isotropic": 5.0, "spectrum": 2.0}, {"isotropic": 1.0, "spectrum": 3.0}
        for hook, mine in zip(pair, given, strict=True):
            nulls[hook]["expected_at_bounds"] = nulls[hook]["kind"].map(mine)
        found = ex.rows(tex_tables_types.types_by_layer(counts, types, nulls, ex.SCHEME))
        close(found[-1][4:5], [6.0], 1)

    def test_calibration(self):
        made = tex_tables_types.tail_calibration(ex.calibration())
        found = ex.rows(made)
        assert [row[0] for row in found] == 2 * [r"\quad right", r"\quad left kurtosis"]
        # 30 and 10 of 100 draws at p <= .1, 6 and 0 at .01, in two layers: 40 / 200 / .1 = 2, and 3.
        assert [float(cell) for cell in found[0][1:]] == [2.0, 3.0]
        assert found[1][1:] == found[3][1:] and float(found[2][1]) == 1.0
        assert r"uniform on the unit sphere" in made and "mean spectrum along $W_U$'s" in made
        assert "0.1" in made and "0.01" in made

    def test_overlap(self):
        made = tex_tables_types.type_overlap(ex.of("types"))
        found = ex.rows(made)
        assert len(found) == 15 and r"\texttt{universal\_neurons}" in made
        members = {name: set() for name in TYPES}
        labelled = Counter()
        for hook, frame in ex.of("types").items():
            for row in frame[frame["scheme"] == ex.SCHEME].to_dict("records"):
                labelled[row["type"]] += 1
                for name in TYPES:
                    if row[name]:
                        members[name].add((hook, row["feature"]))
        assert sum(len(members["local_context"] & members[name]) for name in TYPES[1:])
        for row, name in zip(found[5:10], TYPES, strict=True):
            others = [math.nan if o == name else len(members[name] & members[o]) for o in TYPES]
            close(row[1:], [len(members[name]), labelled[name], *others], 0)

    def test_exemplars_are_the_clearest_of_their_layers(self):
        chosen = tex_tables_types.best_exemplars(ex.exemplar_layers(), ex.SCHEME)
        assert list(dict.fromkeys(chosen["type"])) == list(TYPES)
        for name, part in chosen.groupby("type"):
            best, total = {}, 0
            for hook, frame in ex.of("types").items():
                mine = frame[(frame["scheme"] == ex.SCHEME) & (frame["type"] == name)]
                total += len(mine)
                if len(mine):
                    best[hook] = max(zip(mine["evidence"], -mine["feature"], strict=True))
            expected = sorted(best, key=lambda hook: (-best[hook][0], ex.HOOKS.index(hook)))[:3]
            # Where fewer layers than three have the type, the second ones of these follow.
            assert list(part["sae"])[: len(expected)] == expected
            assert list(part["feature"])[: len(expected)] == [-best[hook][1] for hook in expected]
            assert len(part.drop_duplicates(["sae", "feature"])) == min(3, total)

    def test_every_layer_has_its_turn_before_the_second_of_one(self):
        margins = {ex.HOOKS[0]: {3: 0.9, 5: 0.8, 4: 0.8}, ex.HOOKS[1]: {7: 0.1}}
        layers = {}
        for hook, of in margins.items():
            layer = ex.exemplar_layers()[hook]
            types = layer.types.assign(
                type=[
                    "prediction" if feature in of else "unclassified" for feature in layer.types["feature"]
                ],
                evidence=[of.get(feature, -1.0) for feature in layer.types["feature"]],
            )
            layers[hook] = tex_tables_types.ExemplarLayer(layer.moments, types, layer.extremes)
        chosen = tex_tables_types.best_exemplars(layers, ex.SCHEME)
        found = list(zip(chosen["sae"], chosen["feature"], strict=True))
        assert found == [(ex.HOOKS[0], 3), (ex.HOOKS[1], 7), (ex.HOOKS[0], 4)]

    def test_an_exemplar_row(self):
        layers = ex.exemplar_layers()
        chosen = tex_tables_types.best_exemplars(layers, ex.SCHEME)
        made = tex_tables_types.exemplars(layers, ex.SCHEME)
        said = set()
        for row, (_, best) in zip(ex.rows(made), chosen.iterrows(), strict=True):
            layer = layers[best["sae"]]
            extremes = layer.extremes[layer.extremes["feature"] == best["feature"]]
            assert int(row[1]) == best["feature"]
            close(row[2:3], [best["std"] / best["norm"]], 3)
            close(row[3:5], [best["skewness"], best["kurtosis"]], 2)
            for cell, side, number in ((row[5], "top", 5), (row[6], "bottom", 4)):
                tokens = extremes[extremes["side"] == side].nsmallest(number, "rank")["token"]
                shown = [rf"\mbox{{{tex.token(text, limit=14)}}}" for text in tokens]
                assert cell.split(r"\newline")[0].strip() == r"\hspace{0.9em}".join(shown)
            known = best["feature"] % 4 if layer.explanations is not None else 1
            assert (r"\emph{short\_one}" in row[5]) == (known == 2)
            assert (r"\emph{words like \textbackslash{}textbf\{50\%\} \&" in row[5]) == (known == 0)
            assert (r"\emph" in row[5]) == (known in (0, 2))
            said |= {known}
        assert {0, 2} <= said

    def test_no_type_at_all(self):
        layers = {
            hook: tex_tables_types.ExemplarLayer(
                layer.moments, layer.types.assign(type="unclassified"), layer.extremes
            )
            for hook, layer in ex.exemplar_layers().items()
        }
        assert tex_tables_types.exemplars(layers, ex.SCHEME) == "No feature has a type under this scheme.\n"


class TestSpeed:
    def test_numbers_are_the_saved_ones(self):
        moments, enrichment = (json.loads(path.read_text()) for path in ex.BENCHMARKS.values())
        found = ex.rows(tex_tables_speed.speed(moments, enrichment))
        assert len(found) == len(tex_tables_speed.MOMENTS) + 2
        for row, name in zip(found, tex_tables_speed.MOMENTS, strict=False):
            seconds = statistics.median(moments["timings"][name]["runs"])
            timing = moments["timings"][name]
            assert float(row[1]) == pytest.approx(
                seconds * timing["scaled_to"] / timing["rows_timed"], abs=0.06
            )
            product = moments["timings"]["torch.mm product, tiled, fp32"]["seconds"]
            assert float(row[2]) == pytest.approx(timing["seconds"] / product, abs=0.006)
            assert float(row[3]) == pytest.approx(moments["memory"][name]["mib_above_inputs"], abs=0.51)
        ours, theirs = found[-2:]
        faster = enrichment["scores"]["times_faster_our_product_included"]
        assert float(ours[2]) == pytest.approx(1 / faster, abs=0.006)
        assert float(theirs[1]) / float(ours[1]) == pytest.approx(faster, rel=0.02)

    def test_what_was_not_timed_is_left_out(self):
        moments, enrichment = (json.loads(path.read_text()) for path in ex.BENCHMARKS.values())
        del moments["timings"]["scipy.stats"]
        assert "SciPy" not in tex_tables_speed.speed(moments, enrichment)


def test_rows_of_the_reader():
    made = tex_tables.tabular([Column("a", [r"x \& y"]), Column("b", ["1"], "S")])
    assert ex.rows(made) == [[r"x \& y", "1"]]
    assert pd.DataFrame(ex.rows(made)).shape == (1, 2) and np.isnan(ex.figure("{--}"))
