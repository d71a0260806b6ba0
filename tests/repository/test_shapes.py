"""The shapes that fsrl's annotations state are checked at every call, as long as the tests run."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from fsrl.stats import two_groups


def test_dimensions_of_one_name_have_one_size():
    values, group = np.zeros(4), np.ones(4, dtype=bool)
    assert len(two_groups.units(values, group, np.arange(4))) == 4
    with pytest.raises(TypeCheckError, match="parameter 'clusters'"):
        two_groups.units(values, group, np.arange(5))
    with pytest.raises(TypeCheckError, match="parameter 'group'"):
        two_groups.units(values, group.astype(float), np.arange(4))
