"""One module for each subcommand, with the command as `command`; imported when it is called."""
