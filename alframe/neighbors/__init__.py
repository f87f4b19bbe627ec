"""Which embeddings lie next to which."""
