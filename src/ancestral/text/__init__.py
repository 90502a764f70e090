"""Convert text to ids and back."""
