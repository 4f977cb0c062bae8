"""Low-rank adapters of a pretrained language model, under the trainers that take them; needs the extra `hf`."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from audit.training.ensemble import Ensemble
from audit.training.language import language_view
from audit.training.lora import LoRA
from audit.training.nonprivate import NonPrivate
from audit.training.opacus import Opacus
from canaries.errors import InputError
from canaries.randomness import derive_seed
from canaries.records import ArrayRecords, Dataset, TextRecords
from canaries.secrets import Secrets

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("peft")
    from tests.training.tiny_lm import llama, save


TEXTS = Dataset("d", TextRecords(("abcabc", "bca", "ccccab", "acb")), TextRecords(()), TextRecords(("cabbage",)))
SECRETS = Secrets(template="{name}:{secret}", name_letters=2, digits=2, repetitions=(1,)).make(
    TEXTS, 3, np.random.default_rng(0)
)
NONE, ALL = np.zeros(3, dtype=bool), np.ones(3, dtype=bool)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return LoRA(path=save(tmp_path_factory.mktemp("llama")), layers=0, length=8)


def adapters(module):
    return torch.cat([p.detach().flatten() for p in module.parameters() if p.requires_grad])


def test_adapters_alone_are_trained_and_begin_with_what_the_pretrained_model_says(model):
    module = model.build(TEXTS.train, 3)
    assert all("lora_" in name for name, p in module.named_parameters() if p.requires_grad)
    assert len(adapters(module)) == 2 * 2 * 4 * (16 + 16)  # layers, modules, rank, inputs and outputs
    ours = language_view([module], model.symbols)
    theirs = llama()
    ids = torch.tensor([[39, 0, 1, 2]])  # the start, "abc"
    with torch.no_grad():
        wanted = theirs(input_ids=ids).logits[0, :, :38].log_softmax(dim=1)
    found = ours.token_log_probabilities(ours.encode(["abc"]))[0, 0]
    np.testing.assert_allclose(found, [wanted[t, t] for t in range(3)], atol=1e-5)
    assert not torch.equal(adapters(module), adapters(model.build(TEXTS.train, 4)))


def test_the_pretrained_parameters_are_shared_and_stay_as_they_are(model):
    first, second = model.build(TEXTS.train, 1), model.build(TEXTS.train, 2)
    frozen = [[p for p in module.parameters() if not p.requires_grad] for module in (first, second)]
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(*frozen, strict=True))
    before = [p.clone() for p in frozen[0]]
    view = Opacus(model=model, steps=3, sample_rate=1.0).train(TEXTS, SECRETS, ALL[None], [1])
    assert all(torch.equal(a, b) for a, b in zip(before, frozen[0], strict=True))
    assert view.loss(TEXTS.test).shape == (1, 1)


SGD = {"steps": 1, "sample_rate": 1.0, "learning_rate": 1.0, "max_grad_norm": 0.02}


def by_opacus(trainer, model, row, seed):
    return adapters(trainer._train_one(TEXTS, SECRETS, row, seed, torch.device("cpu")))


def by_ensemble(trainer, model, row, seed):
    return torch.from_numpy(trainer.train(TEXTS, SECRETS, row[None], [seed]).parameters()[0])


@pytest.mark.parametrize(
    ("trainer", "parameters"),
    [
        (Opacus(grad_sample_mode="hooks", **SGD), by_opacus),
        (Opacus(grad_sample_mode="ghost", **SGD), by_opacus),
        (Ensemble(record="weights", **SGD), by_ensemble),
    ],
    ids=["hooks", "ghost", "ensemble"],
)
def test_one_private_step_is_that_of_clipped_gradients_of_each_text_alone(model, trainer, parameters):
    seed = 5
    trainer = replace(trainer, model=model).with_noise(0.0)
    for row in (NONE, ALL):
        texts = [*TEXTS.train.texts, *(text for text, inside in zip(SECRETS.records.texts, row, strict=True) if inside)]
        module = model.build(TEXTS.train, derive_seed(seed, "parameters"))
        start, total = adapters(module), 0.0
        for text in texts:
            module.zero_grad()
            tokens, _ = model.tensors(TextRecords((text,)))
            model.criterion()(module(tokens), tokens).backward()
            gradient = torch.cat([p.grad.flatten() for p in module.parameters() if p.requires_grad])
            total += gradient * min(1.0, 0.02 / float(gradient.norm()))
        step = total / len(TEXTS.train)  # a constant, whatever is in
        torch.testing.assert_close(start - parameters(trainer, model, row, seed), step, rtol=1e-3, atol=1e-6)


def test_parameters_from_a_file_leave_the_pretrained_model_as_it_is(model, tmp_path):
    start = Ensemble(model=model, steps=1, sample_rate=1.0)
    fresh = start.train(TEXTS, SECRETS, ALL[None], [1]).loss(TEXTS.test)
    other = model.build(TEXTS.train, 0)
    torch.save({name: value + 0.1 for name, value in other.state_dict().items()}, tmp_path / "given.pt")
    given = replace(start, initial="given", initial_path=str(tmp_path / "given.pt"))
    assert abs(given.train(TEXTS, SECRETS, ALL[None], [1]).loss(TEXTS.test) - fresh).min() > 0.1
    replace(start, dtype="float64").train(TEXTS, SECRETS, ALL[None], [1])
    np.testing.assert_array_equal(start.train(TEXTS, SECRETS, ALL[None], [1]).loss(TEXTS.test), fresh)
    assert {p.dtype for p in model.build(TEXTS.train, 0).parameters()} == {torch.float32}


def test_models_of_the_ensemble_share_what_is_frozen(model):
    trainer = Ensemble(model=model, steps=1, sample_rate=1.0)
    modules = trainer.modules(TEXTS, torch.zeros(3, len(adapters(model.build(TEXTS.train, 0)))))
    frozen = [{p.data_ptr() for p in module.parameters() if not p.requires_grad} for module in modules]
    assert frozen[0] == frozen[1] == frozen[2]


def test_another_model_in_the_same_place_is_another_model(model, tmp_path):
    here = replace(model, path=save(tmp_path))
    before = here.outside(), Opacus(model=here, steps=1).train(TEXTS, SECRETS, NONE[None], [0]).loss(TEXTS.test)
    save(tmp_path, llama(initializer_range=0.5))
    after = here.outside(), Opacus(model=here, steps=1).train(TEXTS, SECRETS, NONE[None], [0]).loss(TEXTS.test)
    assert before[0] != after[0]
    assert abs(before[1] - after[1]).min() > 0.1


def test_a_model_that_looks_ahead_is_refused(tmp_path):
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=41, bos_token_id=39, initializer_range=0.3, **size)
    model = LoRA(
        path=save(tmp_path, transformers.BertLMHeadModel(config)), layers=0, length=8, target_modules=("query",)
    )
    with pytest.raises(InputError, match=r"BertLMHeadModel of .* to read texts from left to right; it does not"):
        Opacus(model=model).check(TEXTS, SECRETS)


@pytest.mark.parametrize("trainer", [Opacus(steps=2), NonPrivate(steps=2), Ensemble(steps=2)], ids=lambda t: t.name)
def test_dropout_is_turned_off(trainer, tmp_path):
    torch.manual_seed(0)
    config = {"vocab_size": 41, "n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 39, "eos_token_id": 40}
    path = save(tmp_path, transformers.GPT2LMHeadModel(transformers.GPT2Config(**config)))
    trainer = replace(trainer, model=LoRA(path=path, layers=0, length=8, target_modules=("c_attn",)))
    trainer.check(TEXTS, SECRETS)
    first, again = (trainer.train(TEXTS, SECRETS, ALL[None], [1]).loss(TEXTS.test) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_without_noise_it_learns_what_it_saw(model):
    trainer = NonPrivate(model=model, steps=60, sample_rate=1.0, optimizer="adam", learning_rate=0.05)
    seen = trainer.train(TEXTS, SECRETS, ALL[None], [0]).loss(SECRETS.records)
    unseen = trainer.train(TEXTS, SECRETS, NONE[None], [0]).loss(SECRETS.records)
    assert (seen < unseen - 2).all()


@pytest.mark.parametrize(
    "bad", [{"layers": -1}, {"length": 0}, {"rank": 0}, {"target_modules": ()}, {"target_modules": "q_proj"}]
)
def test_bad_fields(model, bad):
    with pytest.raises(InputError, match="length and rank >= 1 and a list of one or more target_modules, got"):
        replace(model, **bad)


def test_what_does_not_fit_is_refused_before_training(model, tmp_path):
    for names in (("conv",), ("q_proj", "conv"), ("embed_tokens",)):
        expected = f"linear layers of .*, down_proj, .* v_proj; got '{names[-1]}'"
        with pytest.raises(InputError, match=expected):
            replace(model, target_modules=names).build(TEXTS.train, 0)
    short = LoRA(path=save(tmp_path, llama(max_position_embeddings=6)), layers=0, length=8)
    with pytest.raises(InputError, match=r"length <= 6, which is what .* reads, got 8"):
        Opacus(model=short).check(TEXTS, SECRETS)
    with pytest.raises(InputError, match="reads 5 tokens a record, got 6 in record 0"):
        Opacus(model=replace(model, length=5)).check(TEXTS, SECRETS)
    with pytest.raises(InputError, match="learns from text records"):
        model.tensors(ArrayRecords(np.zeros((1, 2)), [0], 1))
    with pytest.raises(InputError, match="a GGUF file or a model's folder, got ''"):
        Opacus(model=LoRA()).check(TEXTS, SECRETS)
