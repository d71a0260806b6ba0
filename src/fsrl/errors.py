"""The one exception that a user is meant to read."""

import difflib
import re
from collections.abc import Iterable

from fsrl import plain


class FsrlError(ValueError):
    """A mistake in what the user gave: one line that says what is wrong, where, and what to do.

    Jobs print that line and no traceback (see `fsrl.joblog`); any other exception is a fault of fsrl. Control
    characters in it are shown escaped, secrets of the environment by their variable's name, and names that
    hold a line break on one line (`fsrl.plain`).
    """

    def __str__(self) -> str:
        # Of a kind that is a KeyError too, its text and not the text in quotation marks.
        return re.sub(r"\s*\n\s*", " ", plain.text(Exception.__str__(self)))


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The hint "; did you mean 'x'?" for the nearest of the known names; empty where none is near."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
