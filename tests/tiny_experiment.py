"""An experiment that is over in seconds: two models of some twenty digits, at one claim and without noise."""

import tomllib

TOML = """
name = "tiny"
epsilons = [4.0]
delta = 1e-5
[[audits]]
name = "a"
models = 2
attacks = ["loss"]
estimators = ["one-run"]
data = { name = "digits", train = 20, pool = 10, test = 5 }
canaries = { design = "mislabelled", count = 4, references = 2 }
trainer = { name = "opacus", model = "softmax", steps = 1, sample_rate = 1.0 }
"""
TINY = tomllib.loads(TOML)
