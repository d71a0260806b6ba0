"""A forked job runs and ends as one that the interpreter runs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures import forked_jobs
from tests.fixtures.project import environment

# What a job can know of how it was started.
TOLD = """
import os, sys
import own
# What a shell sets.
given = [(name, value) for name, value in os.environ.items() if name not in ("_", "PWD", "OLDPWD", "SHLVL")]
print(__name__, __file__, sys.argv, sys.path[:2], os.getcwd(), own.__file__, sorted(given))
print(sys.stdin.read(), sys.modules["__main__"].TOLD, "fsrl" in sys.modules, file=sys.stderr)
"""
ENDS = {
    "": 0,
    "sys.exit(3)": 3,
    "sys.exit('in words')": 1,
    "sys.excepthook = lambda *error: print('caught', error[1]); raise ValueError('no')": 1,
    "os.kill(os.getpid(), signal.SIGTERM)": -signal.SIGTERM,
}


@pytest.mark.parametrize("end", ENDS)
def test_a_fork_is_told_and_ends_as_a_process(tmp_path: Path, end: str) -> None:
    script = tmp_path / "a job's.py"
    script.write_text(f"TOLD = 1\n{TOLD}\nimport signal\nprint('done', flush=True)\n{end}\n")
    (tmp_path / "library").mkdir()
    (tmp_path / "library/own.py").write_text("")
    given = environment() | {"PYTHONPATH": str(tmp_path / "library"), "WHO": "it"}
    ways = {
        name: subprocess.run(
            [python, str(script), "one", "two words"],
            cwd=tmp_path,
            env=given,
            input="asked",
            capture_output=True,
            text=True,
        )
        for name, python in (("process", sys.executable), ("fork", forked_jobs.python(environment())))
    }
    process, fork = ways["process"], ways["fork"]
    assert process.returncode == fork.returncode == ENDS[end]
    assert process.stdout == fork.stdout and "done\n" in fork.stdout
    assert process.stderr == fork.stderr and fork.stderr.startswith("asked 1 False\n")


def test_what_is_no_script_is_the_interpreter_s() -> None:
    python = forked_jobs.python(environment())
    said = subprocess.run([python, "-m", "this"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("The Zen of Python")
    code = "import os, sys; print(os.getppid(), 'torch' in sys.modules)"
    told = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == f"{os.getpid()} False\n"
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.endswith(" True\n") and told != f"{os.getpid()} True\n"


def test_one_job_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    python, script = forked_jobs.python(environment()), tmp_path / "job.py"
    script.write_text(
        "import torch, json\nprint(torch.get_num_threads(), hasattr(json, 'left'), torch.rand(1).item())\n"
        "json.left = True\ntorch.set_num_threads(torch.get_num_threads() + 1)\n"
    )
    first, second = (
        subprocess.run([python, str(script)], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert "False" in first and first.split()[:2] == second.split()[:2]
