"""The header of a safetensors file beside what its tensors are; lists of names."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from fsrl.models import stored

KINDS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def test_the_header_says_what_the_tensors_are(tmp_path):
    path = tmp_path / "some.safetensors"
    save_file({name: torch.zeros(2, size).to(kind) for size, (name, kind) in enumerate(KINDS.items())}, path)
    found = {tensor.name: tensor for tensor in stored.tensors(path)}
    read = load_file(path)
    assert found.keys() == read.keys() == KINDS.keys()
    for name, tensor in read.items():
        assert found[name].dtype == name
        assert found[name].shape == list(tensor.shape)
        assert found[name].is_real == tensor.is_floating_point()


def test_numbers_are_counted_without_torch(tmp_path):
    path = tmp_path / "some.safetensors"
    sizes = {name: torch.zeros(2, 3, size).to(kind) for size, (name, kind) in enumerate(KINDS.items())}
    save_file(sizes, path)
    code = "import sys; from fsrl.models import stored; print(stored.numbers(sys.argv[1])); "
    command = [sys.executable, "-c", code + "print('torch' in sys.modules)", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(sum(6 * size for size in range(len(KINDS)))), "False"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a, b"),
        (["a", "b", "c"], "a, b and 1 more"),
        (["abcd", "abcde"], "abcd, abcd..."),
    ],
)
def test_lists(names, said):
    assert stored.listed(names, most=2, longest=4) == said


@given(st.lists(st.text("ab", min_size=1), min_size=1), st.integers(1, 5))
def test_every_name_is_shown_whole_or_counted(names, most):
    shown, _, more = stored.listed(names, most=most).partition(" and ")
    assert shown.split(", ") == names[:most]
    assert int(more.split()[0] if more else 0) == len(names) - len(names[:most])
