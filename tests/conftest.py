"""Helpers that assert: a failure in them shows its values, as in a test."""

import pytest

pytest.register_assert_rewrite(
    "tests.config.mistakes",
    "tests.training.ensemble.rules.by_autograd",
)
