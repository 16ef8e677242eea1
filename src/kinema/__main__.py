"""`python -m kinema` is the command `kinema`; torchrun starts it this way."""

import sys

from kinema.runtime.environment import restart_with_heap

_TRAINING = {"train", "tune", "benchmark"}
"""Commands that take training steps."""


def main() -> int:
    """Run the command of this program's arguments; return the exit code."""
    if _TRAINING.intersection(sys.argv[1:2]):
        restart_with_heap()
    from kinema import cli  # not imported twice

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
