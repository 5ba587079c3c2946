"""
The directives ``command-options`` and ``exit-statuses``, made from the table in zmqrpc/cli/_commands.py.

``.. command-options:: call cast`` lists every option of these commands, which have the same.
"""

from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from option_table import escape

from zmqrpc.cli._commands import COMMANDS, CommandOption
from zmqrpc.cli._exit import MEANINGS


def table_lines(headings: tuple[str, str], rows: list[tuple[str, str]]) -> list[str]:
    """Write a table of two columns in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 26 74", ""]
    for left, right in [headings, *rows]:
        lines += [f"   * - {left}", f"     - {right}"]
    return lines


def typed(option: CommandOption) -> str:
    """Write an option as it is typed, in each of its forms."""
    value = f" {option.value}" if option.value else ""
    return ", ".join(f"``{flag}{value}``" for flag in reversed(option.flags))


class CommandTable(Directive):
    """Put a table where the directive stands."""

    option_spec: ClassVar = {}
    optional_arguments = 20

    def run(self) -> list[nodes.Node]:
        """Parse the generated lines in place."""
        container = nodes.container()
        lines = StringList(self.lines(), source="zmqrpc/cli/_commands.py")
        self.state.nested_parse(lines, self.content_offset, container)
        return container.children


class CommandOptions(CommandTable):
    """List the options of commands."""

    def lines(self) -> list[str]:
        """Write the table."""
        found = [command.options for command in COMMANDS if command.name in self.arguments]
        if len(found) != len(self.arguments) or any(options != found[0] for options in found):
            raise self.error(f"the commands {self.arguments} are not known, or do not have the same options")
        rows = [(typed(option), escape(sentence(option.help))) for option in found[0]]
        return table_lines(("option", "meaning"), rows)


class ExitStatuses(CommandTable):
    """List the exit statuses."""

    def lines(self) -> list[str]:
        """Write the table."""
        return table_lines(("status", "meaning"), [(str(int(s)), escape(m)) for s, m in MEANINGS.items()])


def sentence(text: str) -> str:
    """Write a help text as a sentence."""
    return f"{text[0].upper()}{text[1:]}."


def setup(app: Any) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("command-options", CommandOptions)
    app.add_directive("exit-statuses", ExitStatuses)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
