"""The tiny study's model in both of TransformerLens' forms."""

import pytest

from tests.fixtures import model_examples


@pytest.fixture(scope="module")
def forms(tiny_study):
    """Form -> model."""
    return {name: make(tiny_study / "model") for name, make in model_examples.FORMS.items()}


@pytest.fixture(params=model_examples.FORMS)
def model(forms, request):
    """A model of each form."""
    return forms[request.param]
