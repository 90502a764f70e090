"""Other programs that sample from the same weights, measured in the same run as ours."""
