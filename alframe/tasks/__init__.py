"""What is learned: loss, metrics, label check and what is observed."""
