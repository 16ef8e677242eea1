"""Scripts of shells that complete commands."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tyro


@dataclass(frozen=True, kw_only=True)
class Command:
    """What follows a command, or the name of a group such as `evaluate`."""

    name: str
    description: str
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Options with the values that they allow, if these are few names."""
    words: tuple[str, ...] = ()
    """Words that the first argument may be, beside files: subcommands, recipes or published weights."""


def options_of(options: type[Any], prefix: str = "") -> dict[str, tuple[str, ...]]:
    """Return the options of a dataclass, named as by tyro, with the values of those that are one of a few names."""
    names: dict[str, tuple[str, ...]] = {}
    hints = get_type_hints(options, include_extras=True)
    for option in dataclasses.fields(options):
        hint = hints[option.name]
        kind, *metadata = (hint.__origin__, *hint.__metadata__) if hasattr(hint, "__metadata__") else (hint,)
        if tyro.conf.Positional in metadata:
            continue
        renamed = [one.name for one in metadata if getattr(one, "name", None) is not None]
        name = renamed[0] if renamed else option.name.replace("_", "-")
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            names |= options_of(kind, f"{prefix}{name}.".lstrip("."))
        else:
            names[f"--{prefix}{name}"] = _values(kind)
    return names


def _values(kind: Any) -> tuple[str, ...]:
    kinds = [kind, *get_args(kind)]
    return tuple(str(value) for one in kinds if get_origin(one) is Literal for value in get_args(one))


def _cases(commands: Sequence[Command], of: Callable[[Command], Mapping[str, Sequence[str]]]) -> str:
    """Return branches of a shell's `case "$1"` that print words, from patterns and their words."""
    patterns: dict[str, list[str]] = {}
    for command in commands:
        for pattern, words in of(command).items():
            if words:
                patterns.setdefault(" ".join(words), []).append(quote(pattern))
    return "\n".join(f"        {'|'.join(alike)}) echo {quote(words)} ;;" for words, alike in patterns.items())


def _words(commands: Sequence[Command]) -> str:
    """Return a function of POSIX shells that prints the words which complete a command line."""
    top = " ".join(command.name for command in commands if " " not in command.name)
    groups = "|".join(sorted({command.name.split()[0] for command in commands if " " in command.name}))
    options = _cases(commands, lambda command: {command.name: (*command.options, "--help")})
    values = _cases(
        commands,
        lambda command: {f"{command.name} {option}": values for option, values in command.options.items()},
    )
    words = _cases(commands, lambda command: {command.name: command.words})
    return f"""
# Print what may follow: $1 is the command, $2 the current word, $3 the word before it, $4 the number of the current one
# among the command's arguments, counted from 1.
_kinema_words() {{
    case "$2" in
        -*)
    case "$1" in
{options}
    esac
    return ;;
    esac
    case "$1 $3" in
{values}
    esac
    [ "$4" = 1 ] || return 0
    case "$1" in
        '') echo {quote(top)} ;;
{words}
    esac
}}

_kinema_is_group() {{ case "$1" in {groups}) return 0 ;; *) return 1 ;; esac }}
"""


def bash(commands: Sequence[Command]) -> str:
    """Return the script of bash."""
    return f"""# Completion of kinema for bash, printed by `kinema completion bash`.
{_words(commands)}
_kinema() {{
    local line="${{COMP_LINE:0:COMP_POINT}}" command="" typed first=1 current
    read -ra typed <<< "$line"
    [[ $line == *[[:space:]] ]] && typed+=("")
    if (( ${{#typed[@]}} > 2 )); then command="${{typed[1]}}" first=2; fi
    if (( ${{#typed[@]}} > 3 )) && _kinema_is_group "$command"; then command="$command ${{typed[2]}}" first=3; fi
    current="${{typed[-1]}}"
    COMPREPLY=($(compgen -W "$(_kinema_words "$command" "$current" "${{typed[-2]}}" $(( ${{#typed[@]}} - first )))" \\
        -- "$current"))
    if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then  # bash replaces only what follows the colon
        COMPREPLY=("${{COMPREPLY[@]#"${{current%"${{current##*:}}"}}"}}")
    fi
}}
complete -o default -o bashdefault -F _kinema kinema
"""


def zsh(commands: Sequence[Command]) -> str:
    """Return the script of zsh."""
    return f"""#compdef kinema
# Completion of kinema for zsh, printed by `kinema completion zsh`.
{_words(commands)}
_kinema() {{
    local command="" first=1
    if (( CURRENT > 2 )); then command="$words[2]" first=2; fi
    if (( CURRENT > 3 )) && _kinema_is_group "$command"; then command="$command $words[3]" first=3; fi
    local -a found
    found=(${{=$(_kinema_words "$command" "$words[CURRENT]" "$words[CURRENT-1]" $(( CURRENT - first )))}})
    compadd -- $found
    [[ "$words[CURRENT]" == -* ]] || _files
}}
if [ "$funcstack[1]" = "_kinema" ]; then _kinema "$@"; else compdef _kinema kinema; fi
"""


def fish(commands: Sequence[Command]) -> str:
    """Return the script of fish."""
    lines = ["# Completion of kinema for fish, printed by `kinema completion fish`."]
    for command in commands:
        group, _, name = command.name.rpartition(" ")
        others = [other.name.split()[1] for other in commands if group and other.name.startswith(f"{group} ")]
        alone = f"__fish_seen_subcommand_from {group}; and not __fish_seen_subcommand_from {' '.join(others)}"
        condition = quote(alone) if group else "__fish_use_subcommand"
        lines.append(f"complete -c kinema -f -n {condition} -a {quote(name)} -d {quote(command.description)}")
        seen = quote("; and ".join(f"__fish_seen_subcommand_from {part}" for part in command.name.split()))
        for option, values in command.options.items():
            allowed = f" -x -a {quote(' '.join(values))}" if values else ""
            lines.append(f"complete -c kinema -n {seen} -l {quote(option[2:])}{allowed}")
        if command.words and command.options:
            lines.append(f"complete -c kinema -n {seen} -a {quote(' '.join(command.words))}")
    return "\n".join(lines) + "\n"


SCRIPTS: dict[str, Callable[[Sequence[Command]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
