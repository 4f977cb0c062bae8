import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attacks.scores import Scores
from audit.estimators import DKW

ARM = st.lists(st.floats(allow_nan=False), min_size=1, max_size=60)


def test_the_band_by_hand() -> None:
    n = 2000
    ins, outs = np.arange(n) < 1600, np.arange(n) < 100
    scores = Scores.from_arms(ins.astype(float), outs.astype(float))
    wide = math.sqrt(math.log(2 / 0.05) / (2 * n))
    expected = max(
        math.log((1 - 0.2 - wide - 1e-5) / (0.05 + wide)),
        math.log((1 - 0.05 - wide - 1e-5) / (0.2 + wide)),
    )
    assert DKW().bound(scores, 1e-5).epsilon == pytest.approx(expected, rel=1e-9)


def test_no_noise_in_the_order_or_the_scale() -> None:
    rng = np.random.default_rng(0)
    ins, outs = rng.normal(3, 1, 300), rng.normal(0, 1, 200)
    plain = DKW().bound(Scores.from_arms(ins, outs), 1e-5)
    again = DKW().bound(Scores.from_arms(np.exp(rng.permutation(ins)), np.exp(outs)), 1e-5, seed=9)
    assert plain == again
    assert plain.epsilon > 1


@given(ins=ARM, outs=ARM, copies=st.integers(1, 5), data=st.data())
def test_bound_never_falls_when_an_in_score_rises(
    ins: list[float], outs: list[float], copies: int, data: st.DataObject
) -> None:
    which = data.draw(st.integers(0, len(ins) - 1))
    raised = list(ins)
    raised[which] = data.draw(st.floats(min_value=ins[which], allow_nan=False))
    # At 10% confidence, so that bands are narrow enough for a few scores to say something.
    before, after = (
        DKW().epsilon(
            replace(Scores.from_arms(np.array(arm), np.array(outs)), repetitions=np.array([copies])), 1e-5, 0.1, 0
        )
        for arm in (ins, raised)
    )
    assert after >= before
