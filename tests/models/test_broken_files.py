"""Whatever is wrong with a file that is read, one line names that file and what to do about it.

Every file of a local study, with every way for a file to be broken that somebody has met: missing, cut,
empty, garbage, JSON of another kind, another encoding, a folder in its place.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fsrl.errors import FsrlError
from fsrl.models import dictionaries, export, reading
from fsrl.models.reading import Model
from fsrl.models.sources import ModelSource, SAESource
from fsrl.weights import matrices
from tests.fixtures import tiny_study as tiny

SAE = f"saes/{tiny.SAE_IDS[0]}"
# What belongs to files of the hub: nobody fetches a local folder.
WRONG_REMEDIES = ("fetch it again", "fetch this file again", "try again later")


def as_bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: None if path.write_bytes(content) else None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def tensors(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        held = load_file(path)
        change(held)
        save_file(held, path, {"format": "pt"})

    return edit


def first_nan(held: dict[str, Any]) -> None:
    for name, tensor in held.items():
        if tensor.is_floating_point():
            held[name] = tensor.clone()
            held[name].view(-1)[0] = torch.nan


def flattened(held: dict[str, Any]) -> None:
    for name, tensor in held.items():
        held[name] = tensor.reshape(-1)[:-1].clone()


ANY: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "empty": as_bytes(b""),
    "cut": cut,
    "garbage": as_bytes(bytes(range(256)) * 8),
    "a web page": as_bytes(b"<!DOCTYPE html><title>404</title>"),
    "a folder": in_its_place,
}
OF_JSON = ANY | {
    "a list": as_bytes(b"[]"),
    "a list of numbers": as_bytes(b"[1]"),
    "null": as_bytes(b"null"),
    "an empty object": as_bytes(b"{}"),
    "another encoding": as_bytes('{"name": "é"}'.encode("latin-1")),
}
OF_TENSORS = ANY | {
    "no tensor": tensors(dict.clear),
    "other names": tensors(lambda held: held.update({f"x.{name}": held.pop(name) for name in list(held)})),
    "other shapes": tensors(flattened),
}
NAN = {"not a number": tensors(first_nan)}
COUNTS = "token_counts.safetensors"
FILES = {
    "model/config.json": OF_JSON,
    "model/model.safetensors": OF_TENSORS | NAN,
    "model/tokenizer.json": OF_JSON,
    f"{SAE}/cfg.json": OF_JSON,
    f"{SAE}/sae_weights.safetensors": OF_TENSORS | NAN,
    f"{SAE}/sparsity.safetensors": {name: fault for name, fault in OF_TENSORS.items() if name != "missing"},
    COUNTS: OF_TENSORS
    | {
        "of another kind": tensors(lambda held: held.update(count=held["count"].float())),
        "below zero": tensors(lambda held: held["count"].sub_(100)),
    },
}
CASES = [(name, fault) for name, faults in FILES.items() for fault in faults]


@pytest.fixture(scope="module")
def model(tiny_study: Path) -> Model:
    return reading.read_model(ModelSource(folder=str(tiny_study / "model")))


@pytest.fixture
def study(tiny_study: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(tiny_study, tmp_path / "tiny")


def read(study: Path, name: str, model: Model) -> None:
    """What the job that exports a study does with one of its files."""
    if name.startswith("model/"):
        model = reading.read_model(ModelSource(folder=str(study / "model")))
    if name.startswith("saes/"):
        list(dictionaries.decoders(SAESource(folder=str(study / "saes")), model, study="tiny"))
    else:
        settings = {"min_count": tiny.MIN_COUNT, "draws": 1000, "seed": 0}
        export.unembedding(model, counts_path=study / COUNTS, **settings)


@pytest.mark.parametrize(("name", "fault"), CASES)
def test_one_line_names_the_file_and_a_remedy(study: Path, model: Model, name: str, fault: str) -> None:
    path = study / name
    FILES[name][fault](path)
    with pytest.raises(FsrlError) as error:
        read(study, name, model)
    message = str(error.value)
    assert "\n" not in message and len(message) < 500 + len(str(path))
    named = sorted(
        (other for other in FILES if str(study / other) in message), key=lambda other: message.index(other)
    )
    assert named[:1] == [name], message
    assert ";" in message and not any(remedy in message for remedy in WRONG_REMEDIES), message


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads every file")
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_may_not_be_read_is_named(study: Path, model: Model, name: str) -> None:
    (study / name).chmod(0)
    with pytest.raises(FsrlError, match="(?i)permission denied") as error:
        read(study, name, model)
    assert str(study / name) in str(error.value)


WRITTEN = ("unembedding.safetensors", "decoder.safetensors")
READERS = {WRITTEN[0]: matrices.read_unembedding, WRITTEN[1]: matrices.read_decoder}


@pytest.fixture(scope="module")
def exported(tiny_study: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    made = export.unembedding(
        model, counts_path=tiny_study / COUNTS, min_count=tiny.MIN_COUNT, draws=1000, seed=0
    )
    matrices.write_unembedding(made, folder / WRITTEN[0])
    source = SAESource(folder=str(tiny_study / "saes"))
    matrices.write_decoder(next(dictionaries.decoders(source, model, study="tiny")), folder / WRITTEN[1])
    return folder


def relabelled(path: Path) -> None:
    """Tensors of the right kind, with a header that says less."""
    kind = path.name.split(".")[0]
    save_file(load_file(path), path, {"fsrl": json.dumps({"kind": kind})})


def of_a_nan(path: Path) -> None:
    """What a run that was disturbed left, header and all."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stored:
        header = stored.metadata()
    held = load_file(path)
    first_nan(held)
    save_file(held, path, header)


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("fault", [*OF_TENSORS, "a header that says less", "not a number"])
def test_a_file_of_ours_that_is_broken_is_to_be_built_again(
    exported: Path, tmp_path: Path, name: str, fault: str
) -> None:
    path = tmp_path / name
    shutil.copy(exported / name, path)
    {**OF_TENSORS, "a header that says less": relabelled, "not a number": of_a_nan}[fault](path)
    with pytest.raises(FsrlError) as error:
        READERS[name](path)
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message, message
    assert "build it" in message
