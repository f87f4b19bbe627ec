"""Orchestration and nothing else."""
