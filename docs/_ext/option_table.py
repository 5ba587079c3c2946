"""The directive ``option-table``: every option of `Settings`, made from the one table in zmqrpc/settings.py."""

from typing import Any, ClassVar

import attrs
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from zmqrpc.settings import Settings


def describe_default(field: "attrs.Attribute[Any]") -> str:
    """Write a default as a user would type it; an option without one is `unset`."""
    if field.default is attrs.NOTHING:
        return "(required)"
    if field.default is None:
        return "unset"
    if isinstance(field.default, bool):
        return f"``{str(field.default).lower()}``"
    return f"``{field.default}``"


def describe_range(field: "attrs.Attribute[Any]") -> str:
    """Write the bounds of a number; empty where it has none."""
    low, high = field.metadata.get("low"), field.metadata.get("high")
    if low is None:
        return ""
    return f"{low} to {high}" if high is not None else f"at least {low}"


def escape(text: str) -> str:
    """Protect what reStructuredText would read as markup: help texts are plain."""
    return "".join(f"\\{character}" if character in "\\*`|_" else character for character in text)


def table_lines() -> list[str]:
    """Write the table in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 26 10 12 12 40", ""]
    rows = [["option", "type", "default", "range", "meaning"]]
    for field in attrs.fields(Settings):
        kind = str(field.type).removesuffix(" | None")
        help = escape(field.metadata["help"])
        rows.append([f"``{field.name}``", kind, describe_default(field), describe_range(field), help])
    for row in rows:
        for column, cell in enumerate(row):
            lines.append(f"   {'*' if column == 0 else ' '} - {cell}".rstrip())
    return lines


class OptionTable(Directive):
    """Put the table where the directive stands."""

    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        """Parse the generated lines in place."""
        container = nodes.container()
        self.state.nested_parse(StringList(table_lines(), source="zmqrpc/settings.py"), self.content_offset, container)
        return container.children


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("option-table", OptionTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
