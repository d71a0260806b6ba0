"""The LaTeX tables of claims, measured effects and robustness: every number against a naive way to it."""

import math
import re
import statistics
from collections import Counter

import pandas as pd
import pytest

from fsrl.claims import claims_list
from fsrl.claims import verdicts as judged
from fsrl.errors import FsrlError
from fsrl.latex import ablations as tex_tables_ablations
from fsrl.latex import claims as tex_tables_claims
from fsrl.latex import effects as tex_tables_effects
from fsrl.latex import sensitivity as tex_tables_sensitivity
from fsrl.names import type_label
from fsrl.stats.pooled import pooled
from tests.fixtures import plot_evidence_tables
from tests.fixtures import tex_examples as ex
from tests.fixtures.plot_tables import TYPES
from tests.fixtures.tex_examples import close

SPOKE = ("holds", "contradicted", "undecided")


class TestClaims:
    frame = ex.claims_frame()
    summary = judged.summary(frame)
    ordered = sorted(claims_list.CLAIMS, key=lambda claim: TYPES.index(claim.type))

    def of(self, claim, scheme):
        return self.frame[(self.frame["claim"] == claim.name) & (self.frame["scheme"] == scheme)]

    def spoke(self, claim, scheme):
        mine = self.of(claim, scheme)
        return mine[mine["verdict"].isin(SPOKE)]

    def test_effects_and_counts_of_layers(self):
        made = tex_tables_claims.claims(self.summary, ex.SCHEME)
        heard = [claim for claim in self.ordered if len(self.spoke(claim, ex.SCHEME))]
        found = ex.rows(made.rsplit(r"\midrule", 1)[0])
        assert 0 < len(heard) < len(self.ordered)
        for row, claim in zip(found, heard, strict=True):
            verdicts = Counter(self.of(claim, ex.SCHEME)["verdict"])
            names = ("holds", "contradicted", "undecided")
            assert [int(cell) for cell in row[5:8]] == [verdicts[name] for name in names]
            assert int(row[8]) == verdicts["cannot speak"] + verdicts["no null"]
            mine, by_rank = self.spoke(claim, ex.SCHEME), claim.measure == "AUC"
            y = mine["excess"] if by_rank else mine["effect"].map(math.log)
            effect, low, high = pooled(
                y.to_numpy(), mine["excess_error" if by_rank else "error"].to_numpy(dtype=float)
            )
            expected = [effect, low, high] if by_rank else [math.exp(one) for one in (effect, low, high)]
            if not by_rank and high - low > math.log(1e6):
                assert row[4] == "--"
                continue
            shown = [float(text) for text in re.findall(r"\\num\{(.*?)\}", row[3] + row[4])]
            assert shown == pytest.approx(expected, rel=0.06, abs=0.0051)
            assert row[3].startswith(r"$\Delta$AUC" if by_rank else "OR")
            assert "than unclassified" not in row[1]

    def test_an_interval_that_leaves_an_odds_ratio_open_is_not_printed(self):
        frame = self.summary[self.summary["scheme"] == ex.SCHEME].assign(layers=1, effect=0.5, low=1e-3)
        for high, cell in ((900.0, r"[\num{0.0010}, \num{900}]"), (2e3, "--")):
            found = tex_tables_claims.claims(frame.assign(high=high), ex.SCHEME)
            for row in ex.rows(found.rsplit(r"\midrule", 1)[0]):
                assert (row[4] == cell) or row[3].startswith(r"$\Delta$AUC")
                assert row[4] != "--" or row[3].startswith("OR")

    def test_claims_of_which_no_layer_speaks_are_named_below(self):
        notes = tex_tables_claims.claims(self.summary, ex.SCHEME).rsplit(r"\midrule", 1)[1]
        silent = [claim for claim in claims_list.CLAIMS if not len(self.spoke(claim, ex.SCHEME))]
        assert len(silent) == 3 and notes.count(r"\multicolumn") == 3
        for told in ("Too few features", "Too few null directions", "True or false by the rule"):
            assert told in notes
        for claim in silent:
            assert claim.statement in notes.replace(r"\-", "")
        everything = self.summary[self.summary["layers"] > 0]
        assert "Too few" not in tex_tables_claims.claims(everything, ex.SCHEME)

    def test_each_type_has_its_line_before_its_claims_and_silent_ones_are_named_below(self):
        made, notes = tex_tables_claims.claims_by_scheme(self.summary).rsplit(r"\midrule", 1)
        assert tex_tables_claims.UNSPOKEN in notes
        heard = self.summary.groupby("claim")["layers"].sum() > 0
        types = {claim.type for claim in self.ordered if heard[claim.name]}
        order = [made.index(rf"\emph{{{type_label(name)}}}") for name in TYPES if name in types]
        assert order == sorted(order) and len(order) > 1
        for claim in self.ordered:
            if not heard[claim.name]:
                assert claim.statement in notes.replace(r"\-", "")

    def test_statistics_are_set_as_mathematics(self):
        made = tex_tables_claims.claims(self.summary.assign(layers=1), ex.SCHEME)
        assert "(which cannot be below 1 + skewness$^2$)" in made
        assert r"the largest $\eta^2$ among" in made and "the largest $t$ among" in made
        assert "the largest $t$, on either side" in made and r"\textasciicircum" not in made
        assert r"AUC of $\eta^2$" in tex_tables_claims.claims_by_scheme(self.summary)

    def test_every_scheme(self):
        made, notes = tex_tables_claims.claims_by_scheme(self.summary).rsplit(r"\midrule", 1)
        schemes = (ex.SCHEME, "universal_neurons")
        heard = [claim for claim in self.ordered if any(len(self.spoke(claim, one)) for one in schemes)]
        assert len(heard) < len(self.ordered) and notes.count(r"\multicolumn") == 1
        silent = {claim.statement for claim in self.ordered if claim not in heard}
        for claim in self.ordered:
            assert (claim.statement in notes.replace(r"\-", "")) == (claim.statement in silent)
        found = ex.rows(made)
        # A claim that is asked in several ways is named once.
        assert sum(bool(row[0]) for row in found) == len({(one.type, one.statement) for one in heard})
        for row, claim in zip(found, heard, strict=True):
            assert (row[3] == "--") == (claim.type == "local_context")
            for cell, scheme in zip(row[2:], (ex.SCHEME, "universal_neurons"), strict=True):
                verdicts = Counter(self.of(claim, scheme)["verdict"])
                if not (spoke := sum(verdicts[name] for name in SPOKE)):
                    continue
                verdict, count, of = re.fullmatch(r"(\w+) \((\d+)/(\d+)\)", cell).groups()
                assert int(of) == spoke
                assert int(count) == verdicts["holds" if verdict == "mixed" else verdict]
        # The second claim's layers all speak, for and against.
        assert any(row[2].startswith("mixed") for row in found)


class TestEffects:
    frame = ex.effects_frame()

    def at(self, hook, kind, state):
        rows = self.frame.query("sae == @hook and type == @kind and state == @state and step == '+1'")
        return rows.iloc[0] if len(rows) else None

    def test_by_layer(self):
        found = ex.rows(tex_tables_effects.effects(self.frame))
        index = [(state, hook) for state in ("active", "inactive") for hook in ex.HOOKS]
        for row, (state, hook) in zip(found, index, strict=True):
            of = self.at(hook, "all", state)
            assert int(row[1]) == of["features"]
            figures = [row[2], row[4], row[5], row[6], row[9], row[11]]
            names = ("pearson", "matched", "random", "other", "kept", "slope")
            close(figures, [of[name] for name in names], 2)
            close([row[7]], [of["difference"]], 3)
            for cell, name, digits in (
                (row[3], "pearson", 2),
                (row[8], "difference", 3),
                (row[10], "kept", 2),
            ):
                ends = re.findall(r"\\num\{(.*?)\}", cell)
                close(ends, [of[f"{name}_low"], of[f"{name}_high"]], digits)

    def test_by_type(self):
        found = ex.rows(tex_tables_effects.effects_by_type(self.frame))
        index = [(state, hook) for state in ("active", "inactive") for hook in ex.HOOKS]
        for row, (state, hook) in zip(found, index, strict=True):
            for i, kind in enumerate((*TYPES, "unclassified")):
                of = self.at(hook, kind, state)
                close([row[1 + 2 * i]], [math.nan if of is None else of["difference"]], 3)
                alone = of is None or of["features"] == 1
                # The last column has no intervals.
                assert kind == "unclassified" or (row[2 + 2 * i] == "") == alone

    def test_agreement_by_hook(self):
        frame = ex.by_hook_frame()
        found = ex.rows(tex_tables_effects.agreement(frame))
        index = [(state, hook) for state in ("active", "inactive") for hook in ex.HOOKS]
        assert len(found) == len(index)
        for row, (state, hook) in zip(found, index, strict=True):

            def of(direction, prediction, state=state, hook=hook):
                at = frame.query("sae == @hook and state == @state and step == '+1'")
                return at.query("direction == @direction and prediction == @prediction").iloc[0]

            direct, mine = of("feature", "direct"), of("feature", "transported")
            assert int(row[1]) == direct["features"]
            names = ("direct", "corrected", "transported", "own_mean")
            close([row[2], row[3], row[4], row[6]], [of("feature", name)["pearson"] for name in names], 2)
            close([row[7]], [of("matched", "transported")["pearson"]], 2)
            close([row[8], row[10]], [mine["over_direct"], mine["over_matched"]], 3)
            close([row[12], row[13]], [mine["slope"], mine["overlap"]], 2)
            for cell, name, digits in ((row[5], "pearson", 2), (row[9], "over_direct", 3)):
                ends = re.findall(r"\\num\{(.*?)\}", cell)
                close(ends, [mine[f"{name}_low"], mine[f"{name}_high"]], digits)

    def test_agreement_without_transport_is_about_the_weights(self):
        frame = ex.by_hook_frame()
        frame = frame[frame["prediction"].isin(["direct", "corrected"])]
        made = tex_tables_effects.agreement(frame)
        assert "$T$" not in made and "own mean" not in made
        first = frame.query("state == 'active' and step == '+1' and direction == 'matched'")
        first = first.query("prediction == 'direct'").iloc[0]
        close([ex.rows(made)[0][5]], [first["pearson"]], 2)

    def test_a_type_without_intervals_needs_no_room_for_them(self):
        lonely = self.frame["type"] == "partition"
        frame = self.frame.assign(difference_low=self.frame["difference_low"].mask(lonely))
        assert len(ex.rows(tex_tables_effects.effects_by_type(frame))[0]) == 11


class TestSensitivity:
    frame = ex.sensitivity_frame()

    def test_sums_and_means_over_layers(self):
        found = ex.rows(tex_tables_sensitivity.sensitivity(self.frame))
        assert [row[1] for row in found] == [
            r"$q$ $\leq$ 0.05",
            "null draws",
            r"tail tokens $\leq$ 20",
            r"right share $\geq$ 0.25",
            r"kurtosis $>$ 10",
            r"variance $\times\,d$ $>$ 5.12",
            r"kurtosis $<$ 3",
        ]
        keys = self.frame["scheme"] + self.frame["column"] + self.frame["bound"].fillna("")
        for row, key in zip(found, dict.fromkeys(keys), strict=True):
            part = self.frame[keys == key]
            loose, strict = float(row[2]), float(row[3])
            for factor, at in ((loose, 4), (1.0, 5), (strict, 6)):
                mine = part[part["factor"] == factor]
                assert int(row[at]) == sum(mine["members"])
                sums = [sum(mine[f"expected_{kind}"]) for kind in ("isotropic", "spectrum")]
                assert float(row[at + 3]) == pytest.approx(max(sums), abs=0.051)
            for factor, at in ((loose, 10), (strict, 11)):
                overlaps = [j for j in part.loc[part["factor"] == factor, "jaccard"] if not math.isnan(j)]
                close([row[at]], [statistics.mean(overlaps)], 2)
            assert {loose, strict} == {part["factor"].min(), part["factor"].max()}

    def test_loose_has_more_members_than_strict(self):
        for row in ex.rows(tex_tables_sensitivity.sensitivity(self.frame)):
            members = [int(cell) for cell in row[4:7]]
            assert members == sorted(members, reverse=True) and members[0] > members[2]

    def test_a_table_without_the_rule_as_it_is(self):
        with pytest.raises(FsrlError, match="no factor 1"):
            tex_tables_sensitivity.sensitivity(self.frame[self.frame["factor"] != 1])

    def test_agreement_is_the_median_over_layers(self):
        frame = ex.agreement_frame()
        made = tex_tables_sensitivity.agreement(frame)
        found = ex.rows(made)
        assert made.count(r"\emph{Views} \texttt{trained} \emph{and} \texttt{cosine}") == 1
        pairs = [("schemes", None), ("views", ex.SCHEME), ("views", "universal_neurons")]
        for row, (compared, scheme) in zip(found, pairs, strict=True):
            same = frame["scheme"].isna() if scheme is None else frame["scheme"] == scheme
            part = frame[(frame["compared"] == compared) & same]
            for at, measure in ((1, "jaccard"), (7, "kappa")):
                expected = []
                for kind in (*TYPES, "any"):
                    known = [v for v in part.loc[part["type"] == kind, measure] if not math.isnan(v)]
                    expected.append(statistics.median(known) if known else math.nan)
                close(row[at : at + 6], expected, 2)

    def test_planted(self, tmp_path):
        frame = plot_evidence_tables.recovery(tmp_path)
        found = ex.rows(tex_tables_sensitivity.planted(frame, ex.SCHEME))
        shown = frame[frame["planted_share"] == 0.15]
        asked = [(name.replace("_", " "), "all", name) for name in TYPES if name != "two_sided"]
        asked.append((r"partition $\geq 1/4$", "even", "partition"))
        index = [(*one, strength) for one in asked for strength in plot_evidence_tables.STRENGTHS]
        assert len(found) == len(index)
        for row, (label, population, name, strength) in zip(found, index, strict=True):
            assert row[0] == (label if strength == plot_evidence_tables.STRENGTHS[0] else "")
            assert float(row[1]) == strength
            of = shown[(shown["type"] == name) & (shown["strength"] == strength)]
            mine = of[(of["scheme"] == ex.SCHEME) & (of["population"] == population)].iloc[0]
            post = of[(of["scheme"] == "post") & (of["population"] == population)].iloc[0]
            clear = of[(of["scheme"] == ex.SCHEME) & (of["population"] == "clear")].iloc[0]
            assert [int(cell) for cell in row[2:4]] == [mine["planted"], mine["labelled"]]
            close(row[4::2][:2], [mine["precision"], mine["recall"]], 2)
            for cell, score in ((row[5], "precision"), (row[7], "recall")):
                ends = [float(end) for end in re.findall(r"[\d.]+", cell)]
                assert ends == pytest.approx([mine[f"{score}_low"], mine[f"{score}_high"]], abs=0.0051)
            close(row[8:11], [post["precision"], post["recall"], clear["recall"]], 2)
            assert int(row[11]) == mine["two_sided"]
        with pytest.raises(FsrlError, match="no rows of scheme"):
            tex_tables_sensitivity.planted(frame, "universal_neurons")


def test_nulls_compared():
    frame = ex.null_comparison_frame()
    found = ex.rows(tex_tables_sensitivity.null_comparison(frame))
    asked = 2 * [["planted", "nothing planted"]]
    asked += 2 * [["features", "fresh isotropic", "fresh sign_flip", "fresh second_moment"]]
    wanted = [(case, one) for case, of in zip(frame["case"].unique(), asked, strict=True) for one in of]
    assert len(found) == 5
    for row, null in zip(found, frame["null"].unique(), strict=True):
        assert null.replace("_", r"\_") in row[0]
        for cell, (case, criterion) in zip(row[1:], wanted, strict=True):
            of = frame[(frame["null"] == null) & (frame["case"] == case) & (frame["criterion"] == criterion)]
            expected = of["found"].item() if criterion == "features" else 100 * of["share"].item()
            assert float(cell) == pytest.approx(expected, abs=0.051)


def test_ablations():
    frame = ex.ablations_frame()
    found = ex.rows(tex_tables_ablations.ablations(frame))
    cases = [("as is", [0]), ("2 parts", [0, 1]), ("isotropic alone", [0]), ("spectrum alone", [0])]
    cases += [("folded, trained", [0]), ("raw, trained", [0])]
    for row, (case, parts) in zip(found, cases, strict=True):
        of = frame[frame["case"] == case]
        assert row[0].endswith(case) and [row[1], row[2]] == ["60000", "20000"]

        def summed(label, column, part, of=of):
            return of.loc[(of["label"] == label) & (of["part"] == part), column].sum()

        for cell, label in zip([*row[3:9], row[10]], [*TYPES, "typed", "evident"], strict=True):
            counts = [summed(label, "features", part) for part in parts]
            ends = [float(end) for end in re.findall(r"\\num\{(.*?)\}", cell)]
            assert ends == sorted({min(counts), max(counts)})
        by_chance, jaccards = [], []
        for part in parts:
            columns = ("expected_isotropic", "expected_spectrum")
            by_chance.append(max(summed("typed", column, part) for column in columns))
            mine, other, both = (summed("typed", column, part) for column in ("features", "other", "both"))
            jaccards.append(both / (mine + other - both))
        close([row[9]], [statistics.mean(by_chance)], 1)
        if case == "as is":
            assert "--" in row[11]
        else:
            close([row[11]], [statistics.mean(jaccards)], 2)


def test_the_layers_keep_their_order():
    frame = pd.concat([ex.effects_frame()]).sample(frac=1, random_state=0)
    shuffled = list(dict.fromkeys(frame[frame["type"].eq("all") & frame["step"].eq("+1")]["sae"]))
    found = ex.rows(tex_tables_effects.effects_by_type(frame))
    assert shuffled != ex.HOOKS and len(found) == 26
