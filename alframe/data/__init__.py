"""Datasets: arrays, their split into pool, validation and test rows, and the hidden labels."""
