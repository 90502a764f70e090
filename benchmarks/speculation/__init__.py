"""Single rows in blocks of proposals, compared with single steps."""
