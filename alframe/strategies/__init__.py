"""How rows are picked: one idea per file."""
