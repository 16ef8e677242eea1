"""`python -m kinema` is the command `kinema`; torchrun starts it this way."""

import sys

from kinema.cli import main

if __name__ == "__main__":
    sys.exit(main())
