"""Lower bounds on the privacy loss of training pipelines."""
