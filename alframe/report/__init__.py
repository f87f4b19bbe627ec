"""Reads run directories and nothing else: figures, tables and one page. Imports no torch."""
