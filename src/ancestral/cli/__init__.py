"""The command line: one file per command; a command imports heavy packages when it runs."""
