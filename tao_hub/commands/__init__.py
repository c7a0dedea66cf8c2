"""The code of the core's commands, imported when a command is used."""
