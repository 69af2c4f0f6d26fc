"""Pairs as batches: a cache of slices, what a step sees of them, and what it is compared with."""
