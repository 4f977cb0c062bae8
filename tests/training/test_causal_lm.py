"""Causal language models fine-tuned by LoRA with Opacus, on a model of one tiny layer; needs the extra `hf`."""

import copy
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from attacks import AccessError, Loss
from attacks.view import Access
from audit.training.causal_lm import CausalLMView, LoRAFineTuning, first_layers, token_log_probabilities, tokens
from canaries.errors import InputError
from canaries.randomness import derive_seed
from canaries.records import ArrayRecords, TextRecords

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = ["abcabc", "bca", "ccccab", "acb"]
SIZE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def encode(text):
    return [1, *(ord(c) - ord("a") + 2 for c in text)]


@pytest.fixture(scope="module")
def train():
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=30, **SIZE)).eval()
    return LoRAFineTuning(model, encode, expected_records=4, length=8, steps=3, learning_rate=0.05)


def test_it_depends_on_texts_and_seed_alone_and_leaves_the_model_as_it_was(train):
    before = copy.deepcopy(train.model.state_dict())
    first, again, other = train(TEXTS, 1)(TEXTS), train(TEXTS, 1)(TEXTS), train(TEXTS, 2)(TEXTS)
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
    for name, value in train.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_per_example_gradients_are_those_of_each_text_alone(train):
    # Without clipping or noise, one step of many is the mean of single ones; Opacus's clipping sees each text.
    from opacus.grad_sample import GradSampleModule

    def gradients(texts):
        private = GradSampleModule(train._with_adapters(3), strict=False)
        for name, p in private.named_parameters():  # Adapters begin at zero, where half of them have no gradient.
            if p.requires_grad and "lora_B" in name:
                torch.nn.init.constant_(p, 0.1)
        ids, mask = tokens(texts, encode, 8)
        (-token_log_probabilities(private, ids, mask).sum(dim=1).mean() / 7).backward()
        return [p.grad_sample for p in private.parameters() if p.requires_grad]

    together = gradients(TEXTS)
    for i, text in enumerate(TEXTS):
        for whole, alone in zip(together, gradients([text]), strict=True):
            torch.testing.assert_close(whole[i], alone[0], rtol=1e-4, atol=1e-6)
            assert alone.abs().max() > 0


def test_the_noise_is_the_same_with_one_record_more_and_the_loss_is_over_a_fixed_length(train, monkeypatch):
    # Against plain SGD: sum of clipped gradients of (total loss / 7), plus noise, over the constant 4, whatever is in.
    monkeypatch.setattr(torch.optim, "Adam", torch.optim.SGD)
    plain = replace(train, steps=1, learning_rate=1.0, max_grad_norm=0.02)

    def adapters(module):
        return torch.cat([p.detach().flatten() for p in module.parameters() if p.requires_grad])

    before = adapters(plain._with_adapters(derive_seed(5, "parameters")))
    for texts in (TEXTS, [*TEXTS, "aabbcc"]):
        noise = [adapters(replace(plain, noise_multiplier=s)(texts, 5).module) for s in (0.0, 1.0)]
        expected = torch.zeros_like(before)
        for text in texts:
            module = plain._with_adapters(derive_seed(5, "parameters"))
            (-token_log_probabilities(module, *tokens([text], encode, 8)).sum() / 7).backward()
            gradient = torch.cat([p.grad.flatten() for p in module.parameters() if p.requires_grad])
            expected += gradient * min(1.0, 0.02 / float(gradient.norm()))
        torch.testing.assert_close(noise[0], before - expected / 4, rtol=1e-3, atol=1e-6)
        drawn = (noise[1] - noise[0]) * 4 / 0.02
        assert drawn.std().item() == pytest.approx(1, abs=0.2)


def test_without_noise_it_learns_what_it_saw(train):
    able = replace(train, steps=60, noise_multiplier=0.0)
    seen, unseen = ["abcabca"] * 4, ["cabbage"]
    tuned = able(seen, 0)
    before = replace(train, steps=1, learning_rate=1e-9, noise_multiplier=0.0)(seen, 0)
    assert tuned(seen)[0] < before(seen)[0] - 1
    assert before(unseen)[0] - tuned(unseen)[0] < before(seen)[0] - tuned(seen)[0]


def test_the_view_answers_token_log_probabilities(train):
    tuned = [train(TEXTS, seed) for seed in (1, 2)]
    view = CausalLMView(tuned)
    answer = view.token_log_probabilities(TEXTS)
    assert answer.shape == (2, 4, 7)
    assert (answer[:, 1, 3:] == 0).all()  # "bca" is its start and three tokens
    np.testing.assert_allclose(view.loss(TextRecords(tuple(TEXTS))), -answer.sum(axis=2))
    assert view.queries == 8
    with torch.no_grad():
        logits = tuned[0].module(input_ids=torch.tensor([encode("bca")])).logits.log_softmax(dim=2)
    np.testing.assert_allclose(answer[0, 1, :3], [logits[0, t, encode("bca")[t + 1]] for t in range(3)], rtol=1e-4)
    with pytest.raises(AccessError):
        view.grant(Access.LOSS).token_log_probabilities(TEXTS)
    with pytest.raises(InputError, match="only score text records"):
        view.loss(ArrayRecords(np.zeros((1, 2)), [0], 1))


def test_a_sum_of_probabilities_is_one(train):
    tuned = train(TEXTS, 1)
    next_letter = [tuned.token_log_probabilities([chr(ord("a") + c)])[0, 0] for c in range(28)]
    assert 0.8 < np.exp(next_letter).sum() < 1  # two of thirty tokens are no letters


def test_audits_run_on_it(train):
    import audit
    from audit.accounting import claim_of
    from canaries.secrets import Secrets

    made = Secrets(template="{name}: {secret}", digits=2, repetitions=(1,))
    lettered = replace(train, encode=lambda text: [1, *(2 + ord(c) % 28 for c in text)], length=12, steps=2)
    result = audit.run(
        lettered,
        data=[f"text {i}" for i in range(30)],
        canaries=made,
        attacks=[Loss()],
        models=2,
        claim=claim_of(lettered.mechanism, 1e-3),
        count=4,
        references=2,
    )
    assert result.run.name == "LlamaForCausalLM with LoRA"
    assert result.run.cells[0].attacks[0].queries == 6


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"expected_records": 0}, "expected_records >= 1"),
        ({"length": 1}, "length >= 2"),
        ({"rank": 0}, "rank >= 1"),
        ({"steps": 0}, "steps >= 1"),
        ({"learning_rate": 0.0}, "learning_rate > 0"),
        ({"max_grad_norm": float("inf")}, "max_grad_norm > 0"),
        ({"noise_multiplier": -1.0}, "noise_multiplier >= 0, got -1.0"),
    ],
)
def test_bad_fields(train, bad, message):
    with pytest.raises(InputError, match=message):
        replace(train, **bad)


def test_bad_texts_and_files(train, tmp_path):
    with pytest.raises(InputError, match="at least one text"):
        train([], 0)
    with pytest.raises(InputError, match="at least one token for every text, got none for text 0"):
        tokens([""], lambda text: [], 8)
    with pytest.raises(InputError, match=r"a GGUF file, got 2 and '.*none.gguf'"):
        first_layers(tmp_path / "none.gguf", 2)
    pytest.importorskip("gguf")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF damaged")
    with pytest.raises(InputError, match=r"Cannot read a language model from .*bad.gguf"):
        first_layers(tmp_path / "bad.gguf", 2)
