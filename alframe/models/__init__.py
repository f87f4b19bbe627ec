"""Models: ``model.head(model.embed(inputs))`` gives logits."""
