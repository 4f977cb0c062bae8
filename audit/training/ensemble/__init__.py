"""The ensemble engine: many models of one architecture trained in lockstep with per-example clipping."""
