"""Figures on disk: whole or not at all, and the same bytes for the same figure.

No date, user or library version is written: a figure rebuilt from the same tables is the same file.
"""

from pathlib import Path

from matplotlib.figure import Figure

from fsrl import files
from fsrl.errors import FsrlError
from fsrl.figures.style import styled

# None leaves a field out. Matplotlib would write the time and its own version.
METADATA: dict[str, dict[str, str | None]] = {
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".png": {"Software": None},
}


def check_ending(path: str | Path) -> None:
    """Raise FsrlError for a path whose ending is no format that figures are written in."""
    if Path(path).suffix not in METADATA:
        raise FsrlError(f"{path}: a figure is written as .pdf or .png; change the file's ending")


@styled()
def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PDF or PNG, by the ending of `path`; FsrlError for any other ending."""
    check_ending(path)
    path = Path(path)
    with files.whole(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], metadata=METADATA[path.suffix])
