"""The picture of a graph: the same order among the nodes as in the graph, nothing drawn over anything."""

import itertools

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from fsrl.errors import FsrlError
from fsrl.figures import rulegraph as plot_graph
from tests.fixtures.plot_figures import assert_legible, drawn_texts

RULES = [
    ("export_weights", "moments"),
    ("export_weights", "null_moments"),
    ("null_moments", "types"),
    ("moments", "types"),
    ("export_weights", "types"),
    ("types", "layer_figures"),
    ("export_weights", "layer_figures"),
    ("types", "activation_covariances_of_everything"),
]
DOT = """digraph snakemake_dag {
    graph[bgcolor=white, margin=0];
	0[label = "all", color = "0.02 0.6 0.85", style="rounded"];
	11[label = "moments", color = "0.27 0.6 0.85", style="rounded"];
	2[label = "types", color = "0.62 0.6 0.85", style="rounded"];
	2 -> 0
	11 -> 2
	11 -> 0
}
"""
# Edges from a lower to a higher number make no circle.
graphs = st.sets(
    st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda pair: pair[0] < pair[1]), min_size=1
).map(lambda pairs: sorted((f"n{a}", f"n{b}") for a, b in pairs))


def test_edges_of_a_dot_file_are_labels() -> None:
    assert plot_graph.dot_edges(DOT) == [("moments", "all"), ("moments", "types"), ("types", "all")]


def test_an_edge_to_an_unknown_node_is_named() -> None:
    with pytest.raises(FsrlError, match="node 7 has no label"):
        plot_graph.dot_edges(DOT.replace("2 -> 0", "7 -> 0"))


@given(graphs)
def test_only_edges_that_others_imply_are_left_out(edges: list) -> None:
    expected = nx.transitive_reduction(nx.DiGraph(edges))
    assert plot_graph.reduced(edges) == sorted(expected.edges)


@given(graphs, st.integers(1, 5))
def test_rows_run_downwards_and_are_not_too_wide(edges: list, widest: int) -> None:
    rows = plot_graph.rows_of(edges, widest)
    place = {node: number for number, row in enumerate(rows) for node in row}
    assert set(place) == set(itertools.chain(*edges))
    assert all(place[start] < place[end] for start, end in edges)
    assert max(map(len, rows)) <= widest and min(map(len, rows)) >= 1


def test_a_circle_is_refused() -> None:
    with pytest.raises(FsrlError, match="circle"):
        plot_graph.rows_of([("a", "b"), ("b", "c"), ("c", "b")])


def test_every_rule_is_a_box_and_every_needed_edge_an_arrow(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = plot_graph.rules(RULES, title="tiny · rules")
    ax = figure.axes[0]
    boxes = [text for text in ax.texts if text.get_text()]
    assert {text.get_text().replace("\n", " ") for text in boxes} == {
        name.replace("_", " ") for edge in RULES for name in edge
    }
    arrows = [text for text in ax.texts if not text.get_text()]
    assert len(arrows) == len(plot_graph.reduced(RULES)) == 6
    assert "tiny · rules" in figure.get_suptitle() and figure.get_figwidth() == 7.0
    assert len(drawn_texts(figure, monkeypatch)) == len(boxes) + 1


@pytest.mark.parametrize("width", [8, 30])
def test_boxes_lie_on_the_page_and_apart(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"activation_covariances_{i}_figures" for i in range(width)]
    edges = [("export_weights", name) for name in names] + [(names[0], "types"), ("export_weights", "types")]
    figure = plot_graph.rules(edges, title="tiny · rules")
    assert_legible(figure, monkeypatch)
    texts: list[Text] = [text for text in drawn_texts(figure, monkeypatch) if text.get_bbox_patch()]
    boxes = [text.get_bbox_patch().get_window_extent() for text in texts]
    assert len(boxes) == width + 2
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
