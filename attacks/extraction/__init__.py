"""Extraction: what a language model gives away of secrets and of its training text, one attack in each file."""

from attacks.extraction.best_first import BestFirst
from attacks.extraction.decoding import Decoding
from attacks.extraction.exposure import Extraction
from attacks.extraction.prefix_suffix import PrefixSuffix
from attacks.extraction.sampling import Sampling
from attacks.extraction.secret_membership import SecretMembership

__all__ = ["BestFirst", "Decoding", "Extraction", "PrefixSuffix", "Sampling", "SecretMembership"]
