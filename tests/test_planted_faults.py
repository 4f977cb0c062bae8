"""Planted faults: the reference is right, each fault is one change, and the audit tells them apart."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from attacks.gradient_llr import GradientLLR
from audit import exit_codes
from audit.analysis import AttackKind
from audit.claim_test import claim_test
from audit.mechanism import DPSGD
from audit.results import Outcome
from audit.training.ensemble.engine import Task, fit
from audit.training.ensemble.flat import Flat
from audit.training.ensemble.recipe import Recipe
from audit.training.ensemble.stacked import Stacked
from experiments import faults
from experiments.faults_report import statement, write_report
from experiments.judging import judged
from experiments.planted_faults import FAULTS, Reference
from experiments.planted_faults.model import private_loss
from experiments.planted_faults.noise import NoNoise, SigmaWithoutC
from experiments.planted_faults.reference import HIDDEN, SHAPES, initial_parameters, layer
from experiments.planted_faults.worlds import CLASSES, FEATURES, RECORDS, WORLDS

METHODS = {
    *("sample", "statistics", "clip", "total", "noise", "privatised", "divisor", "released"),
    *("claimed_steps", "claimed_rate", "copies"),
}
HOT = WORLDS[0]


def module():
    """The same network for other trainers."""
    net = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES))
    theta = initial_parameters(seed=0)
    names = ("0.weight", "0.bias", "2.weight", "2.bias")
    parts = {name: theta[layer(key)].view(SHAPES[key]) for name, key in zip(names, SHAPES, strict=True)}
    net.load_state_dict(parts)
    return net


def test_gradients_are_autograd_s():
    x, y = HOT.records(1)
    net = module()

    def loss(parameters, x, y):
        return cross_entropy(functional_call(net, parameters, (x,)), y)

    parameters = dict(net.named_parameters())
    expected = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, x, y)
    flat = torch.cat([expected[name].flatten(1) for name in parameters], 1)
    found = Reference().gradients(initial_parameters(seed=0)[None], x, y, torch.ones(1, len(y)))[0]
    torch.testing.assert_close(found, flat.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("inside", [False, True])
def test_the_right_one_agrees_with_the_ensemble_trainer(inside):
    """Full batch, so that no random draw is left but the noise, which is measured by itself."""
    right = NoNoise(sample_rate=1.0, learning_rate=0.5)
    run = right.fit(HOT, torch.tensor([inside]), seed=3)
    stacked = Stacked(module())
    x, y = HOT.records(1)
    recipe = Recipe(
        steps=right.steps, sample_rate=1.0, learning_rate=0.5, max_grad_norm=right.max_grad_norm, noise_multiplier=0.0
    )
    members = np.arange(RECORDS + inside)
    start = Flat(stacked.shapes).row(module())[None]
    task = Task(x, y, [members], RECORDS, nn.CrossEntropyLoss(reduction="none"))
    theirs = fit(stacked, recipe, task, [0], start).parameters
    torch.testing.assert_close(run.theta, theirs, rtol=1e-3, atol=1e-4)
    assert (run.theta - start).norm() > 0.5


def test_noise_and_sampling_are_what_is_claimed():
    right, rng = Reference(), torch.Generator().manual_seed(0)
    noise = torch.stack([right.noise(torch.Size((50, 100)), step, rng) for step in range(4)])
    assert float(noise.std()) == pytest.approx(right.noise_multiplier * right.max_grad_norm, rel=0.02)
    assert abs(np.corrcoef(noise.flatten(1).numpy())[0, 1]) < 0.05
    batches = torch.stack([right.sample(200, 17, step, rng) for step in range(4)])
    assert float(batches.mean()) == pytest.approx(right.sample_rate, abs=0.02)
    assert abs(np.corrcoef(batches.flatten(1).numpy())[0, 1]) < 0.06


def test_the_record_is_that_of_the_mechanism():
    """The canary's clipped gradient, as often as it was in, and noise along it: nothing of the others is left."""
    right = Reference()
    inside = np.arange(400) % 2 == 0
    record = right.train(WORLDS[1], inside, seed=1).gradient_record()
    np.testing.assert_allclose(record.norms, right.max_grad_norm, rtol=1e-5)
    unknown, never = np.moveaxis(record.unknown / right.max_grad_norm**2, 2, 0)
    assert unknown[inside].mean() == pytest.approx(right.sample_rate, abs=0.06)
    assert unknown[~inside].mean() == pytest.approx(0, abs=0.06)
    assert unknown[~inside].std() == pytest.approx(right.noise_multiplier, rel=0.03)
    assert never[inside].mean() == pytest.approx(never[~inside].mean(), abs=0.06)
    assert never.std() == pytest.approx(right.noise_multiplier, rel=0.03)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_changes_one_thing(fault):
    own = vars(type(fault))
    changed = METHODS & set(own) - ({"copies"} if own.get("copies") == 1 else set())
    assert len(changed) == (0 if fault.name == "realised batch size as divisor" else 1) or changed == {"divisor"}
    assert fault.name
    assert fault.stands_for
    assert fault.claim == fault.sound.claim
    assert fault.sound.really == DPSGD(fault.claimed_rate, fault.claimed_steps, fault.noise_multiplier)
    assert type(fault.sound) is Reference


SHOWN_BY = {
    "no noise": ("gradient-spread", "spread"),
    "noise divided by the batch size": ("gradient-spread", "spread"),
    "noise sigma instead of sigma C": ("gradient-spread", "spread"),
    "noise reused at every step": ("gradient-spread", "spread"),
    "noise averaged over micro-batches": ("gradient-llr", "spread"),
    "clipping the mean gradient": ("gradient-epochs", "opposed, code known"),
    "clipping per layer with the full C": ("gradient-epochs", "spread"),
    "clipping after the aggregate": ("gradient-epochs", "opposed, code known"),
    "no clipping of the bias": ("gradient-spread", "spread"),
    "examples of scaled loss are not clipped": ("gradient-spread", "opposed, code known"),
    "realised batch size as divisor": ("gradient-llr", "opposed"),
    "batches in a fixed order accounted as Poisson": ("gradient-epochs", "opposed"),
    "a sampling rate reported smaller than used": ("gradient-llr", "spread"),
    "fewer steps accounted than run": ("gradient-llr", "bias"),
    "a layer left out of the private optimiser": ("gradient-spread", "spread"),
    "BatchNorm left in": ("gradient", "opposed, code known"),
    "validation data chosen on the private set": ("loss", "hot-pixel"),
    "a user's several records under a record-level claim": ("gradient", "opposed, code known"),
}
"""The attack and the canary that show a fault."""


def strongest(trainer, attack, canary):
    """The least p-value of the claim's test, of the attacks of that name, on a few models."""
    (world,) = [world for world in WORLDS if world.name == canary]
    attacks = [one for one in faults.attacks_on(trainer, world) if one.name == attack]
    found = faults.measure(trainer, world, attacks, 128, seed=7)
    tests = [claim_test(one.select(~one.reference), trainer.claim, seed=0, level=0.01) for one in found]
    return min(test.p_value for test in tests) * len(attacks)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.name in SHOWN_BY], ids=lambda fault: fault.name)
def test_a_fault_shows_where_its_sound_twin_does_not(fault):
    assert strongest(fault, *SHOWN_BY[fault.name]) <= 0.01
    assert strongest(fault.sound, *SHOWN_BY[fault.name]) > 0.01


def test_shuffling_is_not_poisson_sampling():
    """What is not caught is at work all the same: in one batch of each epoch, in place of none, one or several."""
    (shuffled,) = [fault for fault in FAULTS if fault.name not in SHOWN_BY]
    per_epoch = round(1 / shuffled.sample_rate)

    def visits(trainer):
        rng = torch.Generator().manual_seed(0)
        batches = torch.stack([trainer.sample(50, 20, step, rng) for step in range(trainer.steps)])
        return batches.unflatten(0, (-1, per_epoch)).sum(1)

    assert (visits(shuffled) == 1).all()
    assert float(visits(shuffled.sound).var()) == pytest.approx(1 - shuffled.sample_rate, abs=0.05)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_the_best_of_eight_is_chosen_by_loss_alone(world):
    """The canary's loss is lower than that of the first of the eight; what has no loss is not chosen by."""
    (best,) = [fault for fault in FAULTS if fault.name.startswith("validation data")]
    inside = torch.arange(40) % 2 == 0
    released, plain = best.released(world, inside, seed=1), best.sound.released(world, inside, seed=1)
    if not world.is_record:
        torch.testing.assert_close(released.theta, plain.theta, rtol=0, atol=0)
        return
    every = private_loss(best.fit(world, inside.repeat(best.runs), seed=1), world).view(best.runs, -1)
    found = private_loss(released, world)
    torch.testing.assert_close(found[inside], every.amin(0)[inside], rtol=0, atol=0)
    assert (found[~inside] > every.amin(0)[~inside]).any()


def test_names_are_distinct():
    assert len({fault.name for fault in FAULTS} | {Reference.name}) == len(FAULTS) + 1


def test_a_fault_is_caught_and_the_right_one_is_not(monkeypatch):
    monkeypatch.setattr(faults, "MODELS", 128)
    caught = faults.audit(SigmaWithoutC(), seed=0)
    assert caught.verdict == "REFUTED"
    assert caught.exit_code == exit_codes.REFUTED
    assert caught.p_value <= 1 - faults.CONFIDENCE
    assert caught.models == faults.PILOT * len(WORLDS) + faults.CONTROL + 128
    assert caught.enough in (64, 128)
    right = faults.audit(Reference(), seed=0, more=False)
    assert right.verdict == "NOT_REFUTED"
    assert right.exit_code == exit_codes.NOT_REFUTED
    assert "Without noise the same attacks show" in right.reason
    assert {"fault", "verdict", "access", "attack", "estimator", "bound", "models", "seconds"} <= set(
        pd.DataFrame([caught]).columns
    )


def test_the_gate_s_controls_are_those_of_a_sweep():
    """Without the noise the canary is seen; what is never inserted is not, whatever the coins of the models say."""
    right, world, attack = Reference(), WORLDS[1], GradientLLR()
    kind = AttackKind(attack.name, attack.family, attack.access.value)
    (bare,) = faults.measure(replace(right, noisy=False), world, [attack], 64, seed=5)
    (found,) = faults.measure(right, world, [attack], 64, seed=6)
    cell, _ = judged(right.name, kind, right.claim, found, bare, 0.999)
    assert cell.attacks[0].reference_p > 1e-3
    assert cell.verdict.gaps == ()
    cell, gate = judged(right.name, kind, right.claim, found, replace(bare, score=0 * bare.score), 0.999)
    assert cell.verdict.outcome is Outcome.INCONCLUSIVE  # a control that nobody saw
    assert gate.exit_code == exit_codes.INCONCLUSIVE


def test_clean_audits_have_the_settings_of_every_fault():
    twins = faults.sound_twins()
    assert {fault.settings for fault in FAULTS} == {twin.settings for twin in twins}
    assert len({twin.settings for twin in twins}) == len(twins) > 4
    assert all(type(twin) is Reference and twin.noisy and twin.copies == 1 for twin in twins)


def test_the_statement_is_binomial():
    clean = pd.DataFrame({"verdict": ["NOT_REFUTED"] * 200, "settings": ["a", "b"] * 100})
    text = statement(clean, 0.999)
    assert text.startswith("0 of 200 audits")
    assert "each of the 2 settings" in text
    assert text.endswith("below 1.49%.")
    assert statement(clean.iloc[:3].assign(verdict="REFUTED"), 0.999).endswith("below 100.00%.")


def test_the_report_has_every_fault_and_the_reason_of_what_was_missed(tmp_path):
    right = faults.Row(
        *(
            "",
            "q = 1",
            "NOT_REFUTED",
            0,
            "gradients",
            "gradient",
            "bias",
            "claim test",
            0.5,
            1.0,
            1536,
            None,
            3.0,
            4.0,
            None,
        ),
        *(0.5, "", "", "because."),
    )
    rows = [replace(right, fault=fault.name) for fault in FAULTS]
    rows[0] = replace(rows[0], verdict="REFUTED", bound=4.5, enough=64, really=float("inf"))
    rows[1] = replace(rows[1], verdict="REFUTED", enough=128, really=46.7)
    again = [replace(rows[0], verdict=verdict) for verdict in ("REFUTED", "NOT_REFUTED", "REFUTED")]
    for name, table in {"faults": rows, "faults_repeats": again, "faults_clean": [right] * 200}.items():
        assert faults.written(iter(table), tmp_path / f"{name}.csv") == table
    write_report(tmp_path, tmp_path / "docs")
    text = (tmp_path / "docs" / "faults.md").read_text()
    assert (
        "| no noise | REFUTED | bound | 2 of 3 | ∞ | gradients | gradient | bias | 4.5 | 1 | 1536 | 64 | 3.0 |" in text
    )
    assert "| noise divided by the batch size | REFUTED | claim's test |  | 46.7 |" in text
    assert all(f"- **{fault.name}**: {fault.stands_for}." in text for fault in FAULTS)
    assert "**shuffled batches accounted as Poisson** (p = 0.5). Under add-or-remove-one" in text
    assert "0 of 200 audits of the right trainer, in turn with each of the 1 settings" in text
    assert "| q = 1 | 200 | 200 | 0 | 0 | 0.5 | 0.5 | 3.0 |" in text
    assert {path.name for path in (tmp_path / "docs").iterdir()} == {
        *("faults.md", "faults.csv", "faults_repeats.csv", "faults_clean.csv")
    }
    for name in ("faults_repeats", "faults_clean"):
        (tmp_path / f"{name}.csv").unlink()
    write_report(tmp_path, tmp_path / "alone")
    text = (tmp_path / "alone" / "faults.md").read_text()
    assert "other seeds" not in text
    assert "| no noise | REFUTED | bound | ∞ | gradients |" in text
