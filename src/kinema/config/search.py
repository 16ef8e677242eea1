"""Search of options by word, for `--help WORD`."""

import re

from kinema.config.explain import describe
from kinema.config.suggestions import named_elsewhere
from kinema.errors import UserError, did_you_mean


def find_options(config: object, word: str) -> list[str]:
    """Return the dotted keys of the options that a word is about.

    These are the options of a group of that name, or those whose names have the word or are called so by other
    toolboxes; then those whose explanation has it.

    Raises:
        UserError: there are none; offers the nearest name.
    """
    texts = {option.key: option.meaning for option in describe(config)}
    wanted = word.lower().lstrip("-").replace("-", "_")
    if group := [key for key in texts if f".{key}".startswith(f".{wanted}.")]:
        return group
    called = [
        key
        for key in texts
        if wanted == key or wanted in re.split(r"[._]", key) or f"_{wanted}_" in f"_{key.replace('.', '_')}_"
    ]
    called.sort(key=lambda key: key.rpartition(".")[2] != wanted)  # those of exactly this name first
    called += [key for key in named_elsewhere(wanted, texts) if key not in called]
    spoken = re.compile(rf"\b{re.escape(wanted.replace('_', ' '))}\b", re.IGNORECASE)
    explained = [key for key, text in texts.items() if spoken.search(text) and key not in called]
    if keys := called or [key for key in texts if wanted in key]:
        return keys + explained
    if explained:
        return explained
    names = {part for key in texts for part in key.split(".")}
    raise UserError(f"--help {word}: no option is called or explained so{did_you_mean(wanted, names)}")
