"""Checks of a model of the user's own class, in PyTorch, before it is traced."""
