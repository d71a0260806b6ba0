# What comes before the config is read: the library, the interpreter, and how to stop; then the config's files.
import os
import shlex
import sys
from pathlib import Path

# Of the repository, whichever Snakefile is the first (workflow/Snakefile includes the one at the root).
ROOT = Path(workflow.included_stack[-1].get_path_or_uri(secret_free=False)).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "workflow")]
# Scripts run the library that the rules watch, whatever else is installed.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
# Snakemake writes the interpreter's path into a shell's command without quotes: where a folder's name holds a space it
# is called by its name, and found on the path.
if shlex.quote(sys.executable) != sys.executable:
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    sys.executable = os.path.basename(sys.executable)

import config_files
from fsrl import plain
from fsrl.errors import FsrlError


def stop(error):
    """End with one line on stderr: before the first job nobody needs a traceback or a rule's name."""
    sys.exit(plain.line(f"error: {error}"))


def say(line):
    """Print one line on stderr, without the control characters that names may have."""
    print(plain.line(line), file=sys.stderr)


if workflow.is_main_process:
    try:
        config_files.check(
            [Path("config/config.yaml"), *workflow.config_settings.configfiles],
            workflow.config_settings.config_args or [],
        )
    except FsrlError as error:
        stop(error)
