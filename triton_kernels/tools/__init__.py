"""What is seen of a kernel without a GPU: registers, spills, SASS, PTX."""
