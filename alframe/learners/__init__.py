"""Training, observing and evaluating models."""
