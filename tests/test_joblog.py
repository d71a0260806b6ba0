"""What a job leaves in its log and on the screen, run as jobs run: in a process of its own."""

import os
import subprocess
import sys
import textwrap

import pytest

from fsrl import machine


def run(tmp_path, body, **environment):
    """Run `body` after joblog.to in a new process: its exit status, stderr and log."""
    log = tmp_path / "logs" / "job.log"
    script = f"from fsrl import joblog\njoblog.to({str(log)!r})\n" + textwrap.dedent(body)
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=kept | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stderr, log.read_text(), done.stdout


def test_records_and_warnings_go_to_the_log(tmp_path):
    status, stderr, log, _ = run(
        tmp_path,
        """
        import logging, warnings
        logging.getLogger("fsrl.moments").info("kappa0 is 3.1")
        warnings.warn("careful")
        """,
    )
    assert (status, stderr) == (0, "")
    assert "INFO fsrl.moments: kappa0 is 3.1" in log
    assert "UserWarning: careful" in log


def test_a_users_mistake_is_one_line_on_the_screen_and_a_traceback_in_the_log(tmp_path):
    status, stderr, log, _ = run(
        tmp_path,
        """
        from fsrl.errors import FsrlError
        raise FsrlError("data/mini: no such folder;\\nclone again")
        """,
    )
    assert status == 1
    assert stderr == "error: data/mini: no such folder; clone again\n"
    assert "Traceback" in log
    assert "FsrlError: data/mini" in log


def test_a_fault_of_ours_points_to_the_log(tmp_path):
    status, stderr, log, _ = run(tmp_path, "{}['absent']")
    assert status == 1
    assert stderr.count("\n") == 1
    assert stderr.startswith("error: KeyError: 'absent' (traceback in ")
    assert "Traceback" in log


def test_a_thread_that_fails_is_logged(tmp_path):
    _, _, log, _ = run(
        tmp_path,
        """
        import threading
        thread = threading.Thread(target=lambda: 1 / 0, name="reader")
        thread.start()
        thread.join()
        """,
    )
    assert "thread reader failed" in log
    assert "ZeroDivisionError" in log


def test_an_interrupt_keeps_its_exit_status(tmp_path):
    status, stderr, _, _ = run(tmp_path, "raise KeyboardInterrupt")
    assert status not in (0, 1)
    assert "KeyboardInterrupt" in stderr


def test_a_new_run_begins_a_new_log(tmp_path):
    run(tmp_path, "import logging; logging.getLogger('fsrl.a').info('first')")
    _, _, log, _ = run(tmp_path, "import logging; logging.getLogger('fsrl.a').info('second')")
    assert "second" in log
    assert "first" not in log


CORES = machine.cores()


@pytest.mark.parametrize(
    ("asked", "environment", "expected", "imports"),
    [
        ("None", {}, CORES, ""),
        ("1", {}, 1, ""),
        ("1", {}, 1, "import numpy, torch"),
        ("8 * 1024", {"OMP_NUM_THREADS": "4096"}, CORES, "import numpy, torch"),
        ("None", {"OMP_NUM_THREADS": "1"}, 1, ""),
    ],
)
def test_threads_never_exceed_what_was_asked_for_nor_the_cores(
    tmp_path, asked, environment, expected, imports
):
    status, stderr, log, stdout = run(
        tmp_path,
        f"""
        {imports}
        joblog.to({str(tmp_path / "second.log")!r}, threads={asked})
        import os, numpy, torch, threadpoolctl
        pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
        print(max([torch.get_num_threads(), int(os.environ["OPENBLAS_NUM_THREADS"]), *pools]))
        """,
        **environment,
    )
    assert status == 0, stderr
    assert int(stdout) == expected
    assert f"at most {expected} threads" in (tmp_path / "second.log").read_text()


@pytest.mark.parametrize("asked", [None, "ACTIVE"])
def test_waiting_threads_sleep_unless_somebody_says_otherwise(tmp_path, asked):
    status, stderr, _, stdout = run(
        tmp_path,
        f"""
        import os
        os.environ.pop("OMP_WAIT_POLICY", None)
        os.environ |= {{"OMP_WAIT_POLICY": {asked!r}}} if {asked!r} else {{}}
        joblog.to({str(tmp_path / "second.log")!r})
        print(os.environ["OMP_WAIT_POLICY"])
        """,
    )
    assert (status, stdout.strip()) == (0, asked or "PASSIVE"), stderr
