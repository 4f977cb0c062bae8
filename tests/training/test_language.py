"""The n-gram model: causal, scored as it is sampled, and with true per-record gradients under Opacus."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from torch import Tensor
from torch.func import functional_call, grad, vmap

from attacks.view import PAD
from audit.training.language import NGram, RecordLoss, language_view
from canaries.errors import InputError
from canaries.records import TextRecords

ALPHABET = "abcde"


def small(seed: int = 0, context: int = 3) -> NGram:
    torch.manual_seed(seed)
    return NGram(len(ALPHABET) + 1, context=context, embedding=4, hidden=32)


def batch(n: int = 6, length: int = 9) -> Tensor:
    tokens = torch.randint(1, len(ALPHABET) + 1, (n, length), generator=torch.Generator().manual_seed(1))
    tokens[0, 5:] = PAD
    return tokens


def test_a_prediction_depends_on_the_context_before_it_alone() -> None:
    model, tokens = small(), batch()
    logits = model(tokens)
    assert logits.shape == (6, 9, 6)
    for t in range(9):
        other = tokens.clone()
        other[:, t] = 1 + other[:, t] % len(ALPHABET)
        changed = (model(other) != logits).any(dim=2)
        assert not changed[:, : t + 1].any()
        assert not changed[:, t + 1 + model.context :].any()
        assert changed[:, t + 1 : t + 1 + model.context].all()


def test_scores_are_chained_next_tokens() -> None:
    view = language_view([small(0), small(1)], ALPHABET, chunk=4)
    tokens = batch().numpy()
    scores = view.token_log_probabilities(tokens)
    assert scores.shape == (2, 6, 9)
    assert scores.dtype == np.float64
    assert (scores[:, 0, 5:] == 0).all()
    for t in range(9):
        following = view.next_token_log_probabilities(tokens[:, :t])
        assert (following[:, :, PAD] == -np.inf).all()
        np.testing.assert_allclose(np.exp(following).sum(axis=2), 1, rtol=1e-5)
        chosen = following[:, np.arange(6), tokens[:, t]]
        real = tokens[:, t] != PAD
        np.testing.assert_allclose(scores[:, real, t], chosen[:, real], rtol=1e-5, atol=1e-6)


def test_chunks_change_speed_alone_and_models_do_not_mix() -> None:
    tokens = batch().numpy()
    both = language_view([small(0), small(1)], ALPHABET)
    one = language_view([small(1)], ALPHABET, chunk=1)
    np.testing.assert_allclose(both.token_log_probabilities(tokens)[1:], one.token_log_probabilities(tokens), atol=1e-6)
    np.testing.assert_allclose(
        both.next_token_log_probabilities(tokens)[1:], one.next_token_log_probabilities(tokens), rtol=1e-5
    )
    assert one.next_token_log_probabilities(tokens[:0]).shape == (1, 0, 6)


def test_the_loss_of_a_text_is_its_log_probability() -> None:
    view = language_view([small()], ALPHABET)
    loss = view.loss(TextRecords(("abcde", "ea")))
    criterion = RecordLoss(length=10, reduction="none")
    tokens = torch.from_numpy(view.encode(["abcde", "ea"]))
    np.testing.assert_allclose(loss[0] / 10, criterion(small()(tokens), tokens).detach(), rtol=1e-6)


def test_a_record_weighs_the_same_whatever_stands_beside_it() -> None:
    model, tokens = small(), batch()
    criterion = RecordLoss(length=9, reduction="none")
    whole = criterion(model(tokens), tokens)
    padded = torch.nn.functional.pad(tokens, (0, 4))
    torch.testing.assert_close(criterion(model(padded), padded), whole)
    torch.testing.assert_close(RecordLoss(9, "sum")(model(tokens), tokens), whole.sum())
    torch.testing.assert_close(RecordLoss(9, "mean")(model(tokens), tokens), whole.mean())


def per_record_gradients(model: NGram, tokens: Tensor, criterion: RecordLoss) -> dict[str, Tensor]:
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(p: dict[str, Tensor], x: Tensor) -> Tensor:
        return criterion(functional_call(model, p, (x[None],)), x[None])

    return vmap(grad(loss), in_dims=(None, 0))(parameters, tokens)


def test_opacus_hooks_give_the_gradient_of_each_record() -> None:
    model, tokens, criterion = small(), batch(), RecordLoss(9, "sum")
    expected = per_record_gradients(model, tokens, criterion)
    wrapped = GradSampleModule(model, loss_reduction="sum")
    backward(criterion(wrapped(tokens), tokens))
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad_sample, expected[name])


def test_opacus_ghost_norms_are_those_of_the_gradients() -> None:
    model, tokens, criterion = small(), batch(), RecordLoss(9, "sum")
    expected = per_record_gradients(model, tokens, criterion)
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in expected.values()]).norm(dim=0)
    wrapped = GradSampleModuleFastGradientClipping(
        model, loss_reduction="sum", max_grad_norm=0.5, use_ghost_clipping=True
    )
    backward(criterion(wrapped(tokens), tokens))
    torch.testing.assert_close(wrapped.get_norm_sample(), norms)


def backward(loss: Tensor) -> None:
    with warnings.catch_warnings():
        # Opacus hooks the first layer too, whose input (tokens) has no gradient; torch says so.
        warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)
        loss.backward()  # type: ignore[no-untyped-call]


def test_bad_sizes_are_named() -> None:
    with pytest.raises(InputError, match="context, embedding and hidden >= 1, got 6, 0, 8 and 128"):
        NGram(6, context=0)
    with pytest.raises(InputError, match="length >= 1, got 0"):
        RecordLoss(0)
