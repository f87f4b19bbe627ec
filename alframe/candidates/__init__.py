"""Which unlabeled rows are looked at."""
