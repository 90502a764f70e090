"""A model class of the user's own, checked in PyTorch before it is traced."""
