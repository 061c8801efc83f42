"""When a method of this project does not apply to a data set."""

import pytest

from methods import DataFacts, methods


@pytest.mark.parametrize("name", methods.names())
def test_methods_need_as_many_observed_variables_as_latents_domains_to_learn_from_and_latents_to_see(name):
    method = methods[name].make({})
    assert method.skip(DataFacts(6, 3, 4)) is None
    assert "as many observed variables as latents" in method.skip(DataFacts(2, 3, 4))
    assert (method.skip(DataFacts(6, 3, 1)) is not None) == (methods[name].facts.corner == "changes")
    assert (method.skip(DataFacts(6, 3, 4, False)) is not None) == method.sees_latents
