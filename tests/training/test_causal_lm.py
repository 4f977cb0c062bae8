"""Causal language models fine-tuned by LoRA with Opacus, on a model of one tiny layer; needs the extra `hf`."""

import copy
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from attacks import AccessError, Loss
from attacks.extraction import BestFirst, Decoding, Extraction, PrefixSuffix, Sampling
from attacks.extraction.task import tasks
from attacks.view import PAD, Access
from audit.training.causal_lm import CausalLM, LoRAFineTuning, first_layers
from audit.training.language import language_view
from canaries.errors import InputError
from canaries.randomness import derive_seed
from canaries.records import ArrayRecords, Dataset, TextRecords
from canaries.secrets import Secrets

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore")
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789 :"
START = 39
TEXTS = ["abcabc", "bca", "ccccab", "acb"]
SIZE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def llama():
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=41, initializer_range=0.3, **SIZE)).eval()


def gpt2():
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=41, n_embd=16, n_layer=2, n_head=2)).eval()


@pytest.fixture(scope="module")
def train():
    return LoRAFineTuning(llama(), ALPHABET, START, expected_records=4, length=8, steps=3, learning_rate=0.05)


def losses(view, texts):
    return view.loss(TextRecords(tuple(texts)))[0]


def test_it_depends_on_texts_and_seed_alone_and_leaves_the_model_as_it_was(train):
    before = copy.deepcopy(train.model.state_dict())
    first, again, other = (losses(train(TEXTS, seed), TEXTS) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
    for name, value in train.model.state_dict().items():
        assert torch.equal(value, before[name])


def total_loss(module, tokens):
    """Minus the log-probability of all texts."""
    return torch.nn.functional.cross_entropy(
        module(tokens).transpose(1, 2), tokens, ignore_index=PAD, reduction="none"
    ).sum()


def wrapped(train, seed):
    return CausalLM(train._with_adapters(seed), len(ALPHABET), START)


def test_per_example_gradients_are_those_of_each_text_alone(train):
    from opacus.grad_sample import GradSampleModule

    def gradients(texts):
        private = GradSampleModule(wrapped(train, 3), strict=False)
        for name, p in private.named_parameters():  # Adapters begin at zero, where half of them have no gradient.
            if p.requires_grad and "lora_B" in name:
                torch.nn.init.constant_(p, 0.1)
        (total_loss(private, train._tokens(texts)) / len(texts)).backward()
        return [p.grad_sample for p in private.parameters() if p.requires_grad]

    together = gradients(TEXTS)
    for i, text in enumerate(TEXTS):
        for whole, alone in zip(together, gradients([text]), strict=True):
            torch.testing.assert_close(whole[i], alone[0], rtol=1e-4, atol=1e-6)
            assert alone.abs().max() > 0


def test_the_noise_is_the_same_with_one_record_more_and_the_loss_is_over_a_fixed_length(train, monkeypatch):
    # Against plain SGD: sum of clipped gradients of (total loss / 8), plus noise, over the constant 4, whatever is in.
    monkeypatch.setattr(torch.optim, "Adam", torch.optim.SGD)
    plain = replace(train, steps=1, learning_rate=1.0, max_grad_norm=0.02)

    def adapters(module):
        return torch.cat([p.detach().flatten() for p in module.parameters() if p.requires_grad])

    before = adapters(wrapped(plain, derive_seed(5, "parameters")))
    for texts in (TEXTS, [*TEXTS, "aabbcc"]):
        noise = [adapters(replace(plain, noise_multiplier=s).fit(texts, 5)) for s in (0.0, 1.0)]
        expected = torch.zeros_like(before)
        for text in texts:
            module = wrapped(plain, derive_seed(5, "parameters"))
            (total_loss(module, plain._tokens([text])) / 8).backward()
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
    assert losses(tuned, seen)[0] < losses(before, seen)[0] - 1
    assert losses(before, unseen)[0] - losses(tuned, unseen)[0] < losses(before, seen)[0] - losses(tuned, seen)[0]


@pytest.mark.parametrize("make", [llama, gpt2])
def test_answers_are_the_models_own(make):
    model = make()
    view = language_view([CausalLM(model, len(ALPHABET), START)], ALPHABET)

    def direct(text):
        """Log-probabilities after the text, of its tokens and no others, by the model itself."""
        ids = [START, *(ALPHABET.index(c) for c in text)]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1, : len(ALPHABET)]
        return logits.log_softmax(dim=0).numpy()

    texts = ("bca", "abc: 12")
    answer = view.token_log_probabilities(view.encode(texts))
    assert answer.shape == (1, 2, 7)
    assert (answer[0, 0, 3:] == 0).all()
    for i, text in enumerate(texts):
        wanted = [direct(text[:t])[ALPHABET.index(text[t])] for t in range(len(text))]
        np.testing.assert_allclose(answer[0, i, : len(text)], wanted, atol=1e-5)
        assert losses(view, [text])[0] == pytest.approx(-sum(wanted), abs=1e-4)

    # Many prefixes that begin alike, in no order, some twice.
    rng = np.random.default_rng(0)
    prefixes = ["code " + "".join(rng.choice(list("abc 12"), 4)) for _ in range(40)] + ["zzzzzzzzz"]
    tokens = view.encode(prefixes)
    found = view.next_token_of(np.zeros(41, dtype=np.int64), tokens)
    assert (found[:, PAD] == -np.inf).all()
    np.testing.assert_allclose(found[:, 1:], [direct(prefix) for prefix in prefixes], atol=1e-5)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-5)
    some = np.array([3, 1])
    np.testing.assert_array_equal(view.next_token_of(np.zeros(41, dtype=np.int64), tokens, some), found[:, some])
    np.testing.assert_allclose(view.next_token_log_probabilities(view.encode([""]))[0, 0, 1:], direct(""), atol=1e-5)


@pytest.fixture(scope="module")
def known():
    """Secrets of two digits, and two models, of which the first has seen the first two secrets, and little else."""
    dataset = Dataset("d", TextRecords(("text",)), TextRecords(()), TextRecords(()))
    made = Secrets(template="{name}: {secret}", name_letters=3, digits=2, repetitions=(1,))
    canaries = made.make(dataset, 4, np.random.default_rng(0), references=6)
    train = LoRAFineTuning(
        llama(), ALPHABET, START, 4, 8, rank=8, target_modules=EVERY, steps=100, learning_rate=0.03, noise_multiplier=0
    )
    texts = list(canaries.records.texts)
    return canaries, [train.fit(texts[:2], 0), train.fit(texts[2:4], 1)]


EVERY = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def test_every_attack_on_secrets_runs_and_finds_what_was_learnt(known):
    canaries, modules = known
    view = language_view(modules, ALPHABET)
    view.keys = (0, 1)
    member = np.array([[True, True] + [False] * 8, [False, False, True, True] + [False] * 6])
    for attack in (Extraction(), BestFirst(k=5), Decoding(beams=3)):
        scores, evidence = attack.score(view, canaries, 0)
        assert scores[member].min() > scores[~member].max(), attack.name
        np.testing.assert_array_equal(evidence["extracted"], member, err_msg=attack.name)
    _, evidence = Sampling(top_k=5).score(view, canaries, 0)
    assert evidence["emission"][member].min() > 3 * evidence["emission"][~member].max()
    _, evidence = PrefixSuffix().score(view, canaries, 0)
    assert evidence["reconstructed"][member].all()


def test_ranks_are_those_of_brute_force(known):
    canaries, modules = known
    view = language_view(modules, ALPHABET)
    _, evidence = Extraction().score(view, canaries, 0)
    _, (task,) = tasks(view, canaries, "test")
    for c, (secret, prefix) in enumerate(zip(canaries.secrets, task.prefix, strict=True)):
        values = [task.space.value(i) for i in range(100)]
        texts = view.encode([secret.prefix + value for value in values])
        each = view.token_log_probabilities(texts)[:, :, len(prefix) :].sum(axis=2)
        rank = (each >= each[:, [values.index(secret.value)]] - 1e-5).sum(axis=1)
        np.testing.assert_allclose(evidence["exposure"][:, c], np.log2(100 / rank), atol=1e-9)


def test_the_view_refuses_what_was_not_granted(train):
    view = train(TEXTS, 1)
    with pytest.raises(AccessError):
        view.grant(Access.LOSS).token_log_probabilities(view.encode(TEXTS))
    with pytest.raises(InputError, match="only score text records"):
        view.loss(ArrayRecords(np.zeros((1, 2)), [0], 1))


def test_audits_run_on_it(train):
    import audit
    from audit.accounting import claim_of

    made = Secrets(template="{name}: {secret}", digits=2, repetitions=(1, 4))
    longer = replace(train, length=12, steps=2)
    result = audit.run(
        longer,
        data=[f"text {i}" for i in range(30)],
        canaries=made,
        attacks=[Loss(), Extraction()],
        models=2,
        claim=claim_of(longer.mechanism, 1e-3),
        count=4,
        references=2,
    )
    assert result.run.name == "LlamaForCausalLM with LoRA"
    membership, extraction = result.run.cells[0].attacks
    assert membership.queries == 6
    assert extraction.attack == "extraction"
    assert "secret-guess" in {bound.estimator for bound in extraction.bounds}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"expected_records": 0}, "expected_records >= 1"),
        ({"length": 0}, "length >= 1"),
        ({"rank": 0}, "rank >= 1"),
        ({"steps": 0}, "steps >= 1"),
        ({"learning_rate": 0.0}, "learning_rate > 0"),
        ({"max_grad_norm": float("inf")}, "max_grad_norm > 0"),
        ({"start": 41}, r"start in \[0, 41\) and at most 41 tokens, .* got start = 41 and 38 tokens"),
        ({"alphabet": ALPHABET + "ABCD"}, "got start = 39 and 42 tokens"),
        ({"noise_multiplier": -1.0}, "noise_multiplier >= 0, got -1.0"),
    ],
)
def test_bad_fields(train, bad, message):
    with pytest.raises(InputError, match=message):
        replace(train, **bad)


def test_bad_texts_and_files(train, tmp_path):
    with pytest.raises(InputError, match="at least one text"):
        train([], 0)
    with pytest.raises(InputError, match="texts of 1 to 8 tokens, got 0 in text 1"):
        train(["a", ""], 0)
    with pytest.raises(InputError, match="texts of 1 to 8 tokens, got 9 in text 0"):
        train(["abcabcabc", "a"], 0)
    with pytest.raises(InputError, match=r"a GGUF file, got 2 and '.*none.gguf'"):
        first_layers(tmp_path / "none.gguf", 2)
    pytest.importorskip("gguf")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF damaged")
    with pytest.raises(InputError, match=r"Cannot read a language model from .*bad.gguf"):
        first_layers(tmp_path / "bad.gguf", 2)
