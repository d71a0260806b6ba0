"""A config's file that says something twice, or nothing, is refused with its line."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fsrl.errors import FsrlError
from workflow import config_files

TWICE = "is written twice"
FAULTS = {
    "a study twice": (
        "run: [a]\nstudies:\n  a: {x: 1}\n  b: {x: 1}\n  a: {x: 2}\n",
        ["line 5", "'a'", TWICE, "line 3"],
    ),
    "a section twice": ("run: [a]\nnulls: {}\nrun: [b]\n", ["line 3", "'run'", TWICE, "line 1"]),
    "once in quotes": ("run: [a]\n'run': [b]\n", ["line 2", "'run'", TWICE]),
    "in one line": ("tokens: {seed: 0, seed: 1}\n", ["line 1", "'seed'", TWICE]),
    "within a list": ("a:\n- {b: 1}\n- {b: 1, b: 2}\n", ["line 3", "'b'", TWICE]),
    "twice in JSON": ('{"run": ["a"],\n\t"nulls": {"draws": 1, "draws": 2}}', ["'draws'", TWICE]),
    "a tab": ("run: [a]\nnulls:\n\tdraws: 1\n", ["line 3", "not YAML", "\\t", "indent with spaces"]),
    "a bracket that is open": ("run: [a\nnulls: 1\n", ["line 2", "not YAML"]),
    "a list": ("- run\n", ["holds no settings", "key: value"]),
    "a word": ("mini\n", ["holds no settings"]),
    "JSON that is a list": ("[1]", ["holds no settings"]),
    "nothing": ("# nothing\n", ["holds no settings"]),
    "two documents": ("run: [a]\n---\nrun: [b]\n", ["not YAML", "line 2"]),
    "itself": ("a: &a\n  b: *a\n", ["line 1", "alias"]),
    "control characters": ("run: [\x07]\n", ["not YAML", "#x0007"]),
}


def refused(path: Path, *arguments: str) -> str:
    with pytest.raises(FsrlError) as error:
        config_files.check([path], arguments)
    message = str(error.value)
    assert message.startswith("config: ") and "\n" not in message
    return message


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_file_is_one_line_with_its_place(tmp_path: Path, fault: str) -> None:
    text, parts = FAULTS[fault]
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    message = refused(path)
    assert [part for part in [str(path), *parts] if part not in message] == [], message


def test_a_file_that_is_no_text_or_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes("run: [é]".encode("latin-1"))
    assert f"{path}: not a text in UTF-8 (byte 0xe9 at 6)" in refused(path)
    assert f"{tmp_path}: cannot be read" in refused(tmp_path)
    assert "nowhere.yaml: cannot be read (No such file" in refused(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("text", ["\ufeffrun: [a]\n", "a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}\ne: *x\n", "{}"])
def test_what_is_sound_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    config_files.check([path], ["study=mini", "nulls={draws: 2000}", "run=[a, b]", "title=a: b: c", "x="])


def test_a_setting_that_the_command_line_gives_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("run: [a]\n")
    assert "--config: 'study' is given twice" in refused(path, "study=a", "run=[a]", "study=b")
    assert "--config nulls" in refused(path, "nulls={draws: 1, draws: 2}")


NAMES = st.text("abc", min_size=1, max_size=2)
TREES = st.recursive(
    st.integers(0, 9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(st.tuples(NAMES, inner), min_size=1, max_size=3).map(tuple)
    ),
)


def written(tree: object) -> str:
    """A tree in YAML's flow style; a tuple is a mapping, as pairs that may repeat a key."""
    if isinstance(tree, tuple):
        return "{" + ", ".join(f"{key}: {written(value)}" for key, value in tree) + "}"
    return "[" + ", ".join(map(written, tree)) + "]" if isinstance(tree, list) else str(tree)


def repeats(tree: object) -> bool:
    if isinstance(tree, tuple):
        return len(dict(tree)) < len(tree) or any(repeats(value) for _, value in tree)
    return isinstance(tree, list) and any(map(repeats, tree))


@given(st.lists(st.tuples(NAMES, TREES), min_size=1, max_size=3).map(tuple))
def test_a_key_is_found_twice_exactly_where_it_is(
    tmp_path_factory: pytest.TempPathFactory, tree: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "tree.yaml"
    path.write_text(written(tree))
    assert isinstance(yaml.safe_load(path.read_text()), dict)
    if repeats(tree):
        assert TWICE in refused(path)
    else:
        config_files.check([path], [])
