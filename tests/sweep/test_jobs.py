"""Results are equal whatever the number of jobs, the portions and the device."""

import joblib
import pandas as pd
import pytest
import torch

from audit.training.speed import Speed
from tests.sweep.tiny_sweep import run, scores, temporary, tiny, written


# Threads share the list of warning filters, so one may see the other's list: noise, which no result depends on.
@pytest.mark.filterwarnings("ignore:Full backward hook is firing", "ignore:Secure RNG turned off")
@pytest.mark.parametrize(("jobs", "backend"), [(2, "loky"), (3, "threading")])
def test_results_do_not_depend_on_the_number_of_jobs(plain, tmp_path, jobs, backend):
    counter = run(tiny(), tmp_path / "run", jobs=jobs, backend=backend)
    assert counter.done == 6
    pd.testing.assert_frame_equal(scores(tmp_path / "run"), scores(plain))
    assert temporary(tmp_path / "run") == []
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)


ENSEMBLE = tiny(
    models=5,
    attacks=["loss", "weights", "gradient"],
    trainer={
        "name": "ensemble",
        "model": {"name": "mlp", "hidden": [6]},
        "steps": 4,
        "sample_rate": 0.5,
        "momentum": 0.5,
        "record": "gradients",
        "checkpoint_every": 2,
    },
)


@pytest.fixture(scope="module")
def trained_together(tmp_path_factory):
    """An experiment of the ensemble trainer, all models of a cell side by side."""
    out = tmp_path_factory.mktemp("sweep") / "ensemble"
    assert run(ENSEMBLE, out, speed=Speed(rows=4096, models=64)).done == 10
    return out


def assert_that_it_equals(out, wanted):
    """The same units, to the letter; the same scores, to float32's rounding."""
    assert set(written(out)) == set(written(wanted))
    pd.testing.assert_frame_equal(scores(out), scores(wanted), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"speed": Speed(rows=1)},
        {"speed": Speed(rows=7, models=2)},
        {"speed": Speed(memory_mb=0.01)},
        {"jobs": 2},
        {"jobs": 2, "backend": "threading", "speed": Speed(rows=5)},
    ],
    ids=str,
)
def test_no_result_of_the_ensemble_depends_on_portions_or_jobs(trained_together, tmp_path, options):
    assert run(ENSEMBLE, tmp_path / "run", **options).done == 10
    assert_that_it_equals(tmp_path / "run", trained_together)
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_result_of_the_ensemble_depends_on_the_device(trained_together, tmp_path):
    assert run(ENSEMBLE, tmp_path / "run", speed=Speed("cuda")).done == 10
    assert_that_it_equals(tmp_path / "run", trained_together)


def test_other_portions_train_nothing_anew(trained_together):
    assert run(ENSEMBLE, trained_together, speed=Speed(rows=3, models=1)).done == 0
