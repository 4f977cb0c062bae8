"""Planted records: how canaries are made, and who trained on which."""
