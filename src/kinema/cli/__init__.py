"""Commands: each parses its options, calls one function and prints the result."""

import os
import sys
from collections.abc import Sequence

from kinema.cli.subcommands import run_command
from kinema.console import escape_unprintable, print_fault, show_messages
from kinema.errors import EXIT_TEMPORARY, MediaError, StorageOutage, UserError, renamed_options
from kinema.runtime.environment import wait_briefly
from kinema.version import __version__

COMMANDS = {
    "recipes": "list the recipes: what can be trained",
    "zoo": "list published weights: models that are ready to use",
    "train": "train a model",
    "tune": "search the options of a training",
    "submit": "train a model on a Slurm cluster",
    "test": "test a model on labeled videos",
    "calibrate": "fit the temperature of a model's probabilities",
    "predict": "classify videos",
    "localize": "detect actions in long videos",
    "evaluate": "compute metrics of any tool's results: recognition, proposals, detection",
    "inspect": "look at a dataset as the model sees it, and find duplicates and bad files",
    "explain": "show where and when a recognizer sees a class in a video",
    "report": "write runs as one HTML page: curves, per-class metrics, mistakes, calibration",
    "convert": "convert weights from or to another tool",
    "export": "export a model to ONNX or torch.export",
    "serve": "serve a model: a web page and a JSON API",
    "prepare": "prepare datasets",
    "benchmark": "measure speed and memory",
    "doctor": "check this machine, and say what to do",
    "completion": "print a script for completion in bash, zsh or fish",
}
"""Modules of this package with a function `run(arguments) -> exit code`, imported when called."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0 on success, 2 on a user error, 75 if storage does not respond."""
    wait_briefly()
    arguments = sys.argv[1:] if arguments is None else arguments
    command = arguments[0] if arguments else ""
    escape_unprintable()
    show_messages(quiet=os.environ.get("RANK", "0") != "0")
    if command == "--version":
        print(__version__)
        return 0
    try:
        exit_code = run_command("", COMMANDS, arguments)
        sys.stdout.flush()  # to report a full disk
    except (UserError, MediaError) as error:
        print_fault(_in_words_of(command, str(error)))
        return 2
    except StorageOutage as outage:
        print_fault(f"{_in_words_of(command, str(outage))}. Run the same command again when it does")
        return EXIT_TEMPORARY
    except BrokenPipeError:
        _give_up_stdout()
        return 0
    except OSError as error:
        reason = error.strerror or str(error)
        print_fault(f"{error.filename}: {reason}" if error.filename else f"a file or the output: {reason}")
        _give_up_stdout()
        return 2
    except KeyboardInterrupt:
        print_fault("interrupted")
        return 130
    # A propagating exception would keep its frames alive, and the loader workers in them, which exit would wait for.
    except SystemExit as end:
        if isinstance(end.code, str):
            print_fault(end.code)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:
        if _is_out_of_memory(error):
            print_fault(f"out of memory: {str(error).partition(chr(10))[0]}; make batches, clips or frames smaller")
            return 2
        if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # of pathlib
            print_fault(str(error))
            return 2
        sys.excepthook(*sys.exc_info())
        return 1
    return exit_code


def _give_up_stdout() -> None:
    """Discard buffered output that cannot be written, which Python would report at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether Python or torch ran out of memory; torch may not be imported."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _in_words_of(command: str, message: str) -> str:
    """Rename the options in a message to those of `command`."""
    from kinema.cli.arguments import OPTION_NAMES  # only needed for errors

    return renamed_options(message, OPTION_NAMES.get(command, {}))
