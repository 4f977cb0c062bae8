"""Causal language models of transformers, read from files and asked; those of two tiny layers."""

import warnings

import numpy as np
import pytest
import torch

from attacks.extraction import BestFirst, Decoding, Extraction, PrefixSuffix, Sampling
from attacks.extraction.task import tasks
from attacks.view import PAD
from audit.training.causal_lm import CausalLM, load_causal_lm, model_digest
from audit.training.language import language_view
from audit.training.lora import LoRA
from audit.training.nonprivate import NonPrivate
from canaries.errors import InputError
from canaries.records import Dataset, TextRecords
from canaries.secrets import Secrets

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("peft")
    from tests.training.tiny_lm import ALPHABET, START, llama, save


def gpt2():
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=41, n_embd=16, n_layer=2, n_head=2)).eval()


def losses(view, texts):
    return view.loss(TextRecords(tuple(texts)))[0]


def mamba():
    """It keeps a state in place of keys and values: prefixes that begin alike cannot be read once."""
    torch.manual_seed(0)
    config = {"vocab_size": 41, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
    return transformers.MambaForCausalLM(transformers.MambaConfig(**config)).eval()


@pytest.mark.parametrize("make", [llama, gpt2, mamba])
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


EVERY = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
MEMBER = np.array([[True, True] + [False] * 8, [False, False, True, True] + [False] * 6])


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Secrets of three digits, and a view of two fine-tuned models that have seen two of them each, and little else."""
    dataset = Dataset("d", TextRecords(("abc",)), TextRecords(()), TextRecords(()))
    made = Secrets(template="{name}: {secret}", name_letters=3, digits=3, repetitions=(1,))
    canaries = made.make(dataset, 4, np.random.default_rng(0), references=6)
    model = LoRA(path=save(tmp_path_factory.mktemp("llama")), layers=0, length=8, rank=8, target_modules=EVERY)
    train = NonPrivate(model=model, steps=100, sample_rate=1.0, optimizer="adam", learning_rate=0.03)
    return canaries, train.train(dataset, canaries, MEMBER, [0, 1])


def test_every_attack_on_secrets_runs_and_finds_what_was_learnt(known):
    canaries, view = known
    for attack in (Extraction(), BestFirst(k=5), Decoding(beams=3)):
        scores, evidence = attack.score(view, canaries, 0)
        assert scores[MEMBER].min() > scores[~MEMBER].max(), attack.name
        np.testing.assert_array_equal(evidence["extracted"], MEMBER, err_msg=attack.name)
    _, evidence = Sampling(top_k=5).score(view, canaries, 0)
    assert evidence["emission"][MEMBER].min() > 3 * evidence["emission"][~MEMBER].max()
    _, evidence = PrefixSuffix().score(view, canaries, 0)
    assert evidence["reconstructed"][MEMBER].all()


def test_ranks_are_those_of_brute_force(known):
    canaries, view = known
    _, evidence = Extraction().score(view, canaries, 0)
    _, (task,) = tasks(view, canaries, "test")
    for c, (secret, prefix) in enumerate(zip(canaries.secrets, task.prefix, strict=True)):
        values = [task.space.value(i) for i in range(1000)]
        texts = view.encode([secret.prefix + value for value in values])
        each = view.token_log_probabilities(texts)[:, :, len(prefix) :].sum(axis=2)
        rank = (each >= each[:, [values.index(secret.value)]] - view.tie).sum(axis=1)
        np.testing.assert_allclose(evidence["exposure"][:, c], np.log2(1000 / rank), atol=1e-9)


def test_a_folder_is_read_with_its_tokeniser_and_its_first_layers(tmp_path):
    path = save(tmp_path)
    model, vocabulary, start = load_causal_lm(path, 1)
    assert (len(vocabulary), start) == (len(ALPHABET), START)
    assert vocabulary.encode(["cab"]).tolist() == [[3, 1, 2]]
    assert len(model.model.layers) == model.config.num_hidden_layers == 1
    whole, _, _ = load_causal_lm(path, 0)
    assert len(whole.model.layers) == 2
    for ours, theirs in zip(whole.parameters(), llama().parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_digest_is_of_all_that_is_in_the_folder(tmp_path):
    path = save(tmp_path)
    before = model_digest(path)
    assert model_digest(path) == before
    (tmp_path / "config.json").write_text((tmp_path / "config.json").read_text() + " ")
    assert model_digest(path) != before
    assert model_digest(str(tmp_path / "config.json")) != before


def test_files_that_are_no_models(tmp_path):
    for path in ("", str(tmp_path / "none.gguf")):
        for read in (lambda p: load_causal_lm(p, 2), model_digest):
            with pytest.raises(InputError, match=rf"a GGUF file or a model's folder, got '{path}'"):
                read(path)
    with pytest.raises(InputError, match=r"a tokenizer.json in the model's folder .*, there is none"):
        load_causal_lm(str(tmp_path), 2)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="Cannot read a language model from") as told:
        load_causal_lm(str(tmp_path), 2)
    assert "\n" not in str(told.value)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF damaged")
    with pytest.raises(InputError, match=r"Cannot read a language model from .*bad.gguf"):
        load_causal_lm(str(tmp_path / "bad.gguf"), 2)


@pytest.mark.parametrize(
    ("model", "layers", "message"),
    [
        (llama, 3, "3 layers or more, got LlamaForCausalLM with 2; layers = 0 keeps it whole"),
        (gpt2, 1, "1 layers or more, got GPT2LMHeadModel with none that can be told apart"),
        (lambda: llama(vocab_size=37, bos_token_id=1, eos_token_id=1), 0, "its tokeniser's 38, got 1 and 37"),
        (lambda: llama(bos_token_id=None, eos_token_id=None), 0, "a token that texts begin with .* got None and 41"),
    ],
)
def test_models_that_do_not_fit(tmp_path, model, layers, message):
    with pytest.raises(InputError, match=message):
        load_causal_lm(save(tmp_path, model()), layers)
