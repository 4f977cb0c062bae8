"""Trainers, models and data sets."""
