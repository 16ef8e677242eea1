"""What is wrong with this machine: each check of `kinema doctor` in a module for what it is about."""
