"""What adversaries do with a view of a model: attacks, and the scores that they give."""
