"""Null directions on disk: made once, read by whoever asks for the same, made again when broken."""

import logging

import pandas as pd
import pytest
import torch

from fsrl.nulls import cache
from fsrl.nulls import frames as nulls

W_U = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
MADE_FROM = {"W_U": "a" * 64, "draws": "20", "seed": "0", "kinds": "isotropic"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "kept"))
    return tmp_path / "kept"


class Maker:
    """Draws, and counts how often it was asked."""

    calls = 0

    def __call__(self):
        self.calls += 1
        return nulls.isotropic(W_U, draws=20, seed=0)


def test_a_table_is_made_once_and_read_as_it_was(folder):
    make = Maker()
    first, second = (cache.null(MADE_FROM, make) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert make.calls == 1 and len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("name", MADE_FROM)
def test_what_is_made_from_something_else_is_something_else(folder, name):
    make = Maker()
    cache.null(MADE_FROM, make)
    cache.null(MADE_FROM | {name: "other"}, make)
    assert make.calls == 2 and len(list(folder.iterdir())) == 2


def test_another_version_is_something_else(folder, monkeypatch):
    make = Maker()
    cache.null(MADE_FROM, make)
    monkeypatch.setattr(cache, "__version__", "9.9")
    cache.null(MADE_FROM, make)
    assert make.calls == 2


def test_a_name_is_not_taken_for_the_content(folder):
    make = Maker()
    cache.null(MADE_FROM, make)
    (path,) = folder.iterdir()
    cache.null(MADE_FROM | {"seed": "1"}, make)
    (other,) = set(folder.iterdir()) - {path}
    path.replace(other)
    cache.null(MADE_FROM | {"seed": "1"}, make)
    assert make.calls == 3


def test_a_broken_file_is_made_again(folder, caplog):
    make = Maker()
    first = cache.null(MADE_FROM, make)
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    pd.testing.assert_frame_equal(cache.null(MADE_FROM, make), first)
    assert make.calls == 2 and "made again" in caplog.text
    cache.null(MADE_FROM, make)
    assert make.calls == 2


def test_where_nothing_can_be_written_the_table_is_made_all_the_same(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file/kept"))
    make = Maker()
    with caplog.at_level(logging.WARNING):
        assert len(cache.null(MADE_FROM, make)) == len(cache.null(MADE_FROM, make)) == 20
    assert make.calls == 2 and "not kept" in caplog.text


def test_off_keeps_nothing_and_the_default_is_the_user_s_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(cache.VARIABLE, cache.OFF)
    cache.null(MADE_FROM, Maker())
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv(cache.VARIABLE)
    cache.null(MADE_FROM, Maker())
    assert len(list((tmp_path / "fsrl/nulls").iterdir())) == 1


def test_trained_tokens_are_told_once(folder, caplog):
    calls = []

    def tell():
        calls.append(None)
        return torch.tensor([True, False, True]), "1 of 3 left out"

    for _ in range(2):
        mask, description = cache.trained({"W_U": "b" * 64}, tell)
        assert mask.tolist() == [True, False, True] and description == "1 of 3 left out"
    assert len(calls) == 1
    (path,) = folder.iterdir()
    path.write_bytes(b"half of it")
    assert cache.trained({"W_U": "b" * 64}, tell)[0].tolist() == [True, False, True]
    assert len(calls) == 2 and "made again" in caplog.text
