"""The directive ``option-table``: the options of one group, made from the one table in zmqrpc/settings.py."""

from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from zmqrpc.option import Effect, Option
from zmqrpc.settings import OPTIONS

EFFECTS = {
    Effect.NONE: "No effect.",
}


def describe_default(option: Option) -> str:
    """Write a default as a user would type it; an option without one is `unset`."""
    text = option.write(option.default)
    return f"``{text}``" if text else "unset"


def describe_meaning(option: Option) -> str:
    """Write what it does, and what else is to be known of it."""
    words = [EFFECTS.get(option.effect, ""), escape(option.help)]
    older = [f"``{key}`` in ``[{group}]``" for group, key in option.was]
    if older:
        words.append(f"Older: {', '.join(older)}.")
    if option.older_default is not None:
        words.append(f"The older default was ``{option.older_default}``.")
    return " ".join(word for word in words if word)


def escape(text: str) -> str:
    """Protect what reStructuredText would read as markup: help texts are plain."""
    return "".join(f"\\{character}" if character in "\\*`|_" else character for character in text)


def table_lines(group: str, dead: bool) -> list[str]:
    """
    Write the table of a group in reStructuredText.

    :param dead: whether to write the options that have no effect, instead of the others.
    """
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 26 8 12 12 42", ""]
    rows = [["option", "type", "default", "range", "meaning"]]
    for option in OPTIONS:
        if (option.group == group or dead) and (option.effect is Effect.NONE) is dead:
            name = f"``{option.key}``" if not dead else f"``{option.key}`` in ``[{option.group}]``"
            kind = option.kind.replace("tuple[str, ...]", "list")
            rows.append([name, kind, describe_default(option), option.range, describe_meaning(option)])
    if dead:
        rows = [[name, meaning.removeprefix("No effect. ")] for name, *_, meaning in rows]
        lines[2] = "   :widths: 40 60"
    for row in rows:
        for column, cell in enumerate(row):
            lines.append(f"   {'*' if column == 0 else ' '} - {cell}".rstrip())
    return lines


class OptionTable(Directive):
    """Put the table of the group that it names where the directive stands; of what has no effect, without a name."""

    optional_arguments = 1
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        """Parse the generated lines in place."""
        container = nodes.container()
        lines = table_lines(self.arguments[0], False) if self.arguments else table_lines("", True)
        self.state.nested_parse(StringList(lines, source="zmqrpc/settings.py"), self.content_offset, container)
        return container.children


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("option-table", OptionTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
