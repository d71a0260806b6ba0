"""What `make lint` says of the rules."""

from workflow import lint

MEANT = "".join(f"    * {start} (here):\n      why\n" for start in lint.EXCEPTIONS)
OTHER = "    * No log directive defined:\n      Without it, output goes to the terminal.\n"


def test_exceptions_cover_what_they_name_and_nothing_else() -> None:
    assert lint.left(MEANT) == [] and lint.stale(MEANT) == []
    assert lint.left(MEANT + OTHER) == ["No log directive defined"]


def test_an_exception_that_no_lint_needs_is_named() -> None:
    first, *rest = lint.EXCEPTIONS
    printed = "".join(f"    * {start}:\n" for start in rest)
    assert lint.stale(printed) == [first]
