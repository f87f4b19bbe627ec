"""Frozen encoders: what turns a dataset's inputs into the embeddings of a store."""
