"""Help of the options of a recipe or a model: those changed first, all, or those that a word is about."""

from collections.abc import Sequence

from kinema.config import Leaf, brief_help, find_options, groups_help, leaves, options_help, selected_help

FIRST = (
    "data.train", "data.val", "data.val_fraction", "data.root", "data.classes", "data.source", "data.ground_truth",
    "data.features", "data.proposals", "data.batch_size", "data.workers", "model.num_classes", "model.pretrained",
    "model.frozen_stages", "task.labels", "optim.lr", "schedule.epochs", "schedule.warmup_epochs", "training.val_every",
    "training.seed", "runtime.device", "runtime.precision",
)  # fmt: skip
"""Options that are changed first, of any task."""


def wants_help(arguments: Sequence[str]) -> bool:
    """Return whether help is requested of the options of what the first argument names."""
    return bool(arguments) and not arguments[0].startswith("-") and any(map(_is_help, arguments))


def print_options(config: object, arguments: Sequence[str], *, command: str) -> None:
    """Print the help that the command's `arguments` request: `RECIPE --help`, `--help-all` or `--help WORD…`.

    Raises:
        UserError: no option has the word.
    """
    subject, *_ = arguments
    asked = next(i for i, argument in enumerate(arguments) if _is_help(argument))
    words, known = arguments[asked + 1 :], leaves(config)
    if arguments[asked] == "--help-all":
        print(f"Options of {subject}, with its values; a command's own: {command} --help\n{options_help(config)}")
    elif words:
        keys = list(dict.fromkeys(key for word in words for key in find_options(config, word)))
        print(f"Options of {subject} about {', '.join(words)}, with its values:\n\n{selected_help(config, keys)}")
    else:
        print(_overview(config, known, subject, command))


def _overview(config: object, known: dict[str, Leaf], subject: str, command: str) -> str:
    first = [key for key in FIRST if key in known]
    return "\n".join(
        [
            f"usage: {command} {subject} [--group.option value …]",
            "",
            f"Options of {subject} that are changed first, with its values:",
            "",
            brief_help(config, first),
            "",
            f"Groups of its {len(known)} options:",
            "",
            groups_help(config),
            "",
            f"{command} {subject} --help WORD    options of a group, or about something: --help model, --help lr",
            f"{command} {subject} --help-all     all options",
            f"{command} --help    the command's own options",
        ]
    )


def _is_help(argument: str) -> bool:
    return argument in ("-h", "--help", "--help-all")
