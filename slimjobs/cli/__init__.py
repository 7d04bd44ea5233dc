"""The `slimjobs` command: arguments and printing, one file a command."""
