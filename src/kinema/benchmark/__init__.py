"""`kinema benchmark`: one module for each subcommand; compare/ and logs/ deal with other toolboxes."""
