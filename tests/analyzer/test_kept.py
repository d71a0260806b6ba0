"""Tables kept for a process: made once a key, bounded in rows, least recently asked for goes first."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from fsrl.analyzer.kept import Kept

SIZES = (1, 2, 3, 4)


@given(st.lists(st.sampled_from(SIZES)), st.integers(0, 9))
def test_as_a_list_of_the_last_asked_for_says(asked, bound):
    """A table of `size` rows for each key `size`; the twin is a list, newest last."""
    kept, twin = Kept(rows=bound), []
    for size in asked:
        made = []

        def make(size=size, made=made):
            made.append(size)
            return pd.DataFrame({"a": range(size)})

        assert len(kept.get(size, make)) == size
        assert bool(made) == (size not in twin)
        twin = [key for key in twin if key != size] + [size]
        while sum(twin) > bound:
            twin.pop(0)


def test_what_fails_is_not_kept():
    kept, calls = Kept(rows=9), []

    def make():
        calls.append(None)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return pd.DataFrame({"a": [1]})

    for _ in range(3):
        try:
            kept.get("key", make)
        except KeyboardInterrupt:
            assert len(calls) == 1
    assert len(calls) == 2
