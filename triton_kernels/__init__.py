"""Our operators: reference and registration with torch.library."""
