"""Ready sweeps, and the studies that Firedamp's own promises rest on. Run from a clone, not installed."""
