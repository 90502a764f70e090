"""Files: written so that a killed process harms none, read within bounds."""
