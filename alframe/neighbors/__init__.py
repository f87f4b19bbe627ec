"""The nearest rows of a pool, by embeddings that no fit of the run changes."""
