"""The command line: a file for each command; what is heavy is imported inside the command."""
