"""The bundle on disk: what its manifest says, and whether its files are that."""
