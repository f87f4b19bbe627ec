"""Mirrors of a run in TensorBoard, Weights & Biases and CSV files."""
