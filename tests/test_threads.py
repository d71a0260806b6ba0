"""Workers side by side take one thread each, whatever the environment gives a new thread."""

import os
import subprocess
import sys

import pytest
import torch

from fsrl import threads

IN_WORKERS = """
import threadpoolctl, torch
from fsrl import threads

def openmp():
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "openmp"]

def in_worker(number):
    return openmp()  # before Torch has told the thread anything

torch.set_num_threads(2)
with threads.workers(torch.device("cpu")) as pool:
    found = list(pool.map(in_worker, range(8)))
assert found[0] and all(set(counts) == {1} for counts in found), found
assert torch.get_num_threads() == 2 and set(openmp()) == {2}
"""


def test_a_worker_s_products_take_one_thread():
    environment = os.environ | {"OMP_NUM_THREADS": "3"}
    subprocess.run([sys.executable, "-c", IN_WORKERS], check=True, env=environment)


def test_threads_come_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ValueError), threads.workers(torch.device("cpu")) as pool:
        pool.submit(int, "no number").result()
    assert torch.get_num_threads() == before


def test_on_another_device_there_is_one_worker_and_threads_are_let_be():
    before = torch.get_num_threads()
    with threads.workers(torch.device("meta")) as pool:
        assert pool._max_workers == 1 and torch.get_num_threads() == before
