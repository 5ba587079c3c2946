"""Configuration of Sphinx."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

from zmqrpc import __version__  # noqa: E402, found by the line above

project = "zmqrpc"
author = "the zmqrpc contributors"
project_copyright = author
version = release = __version__

extensions = ["sphinx.ext.autodoc", "repoze.sphinx.autointerface", "command_tables", "option_table", "seed_options"]
exclude_patterns = ["_build", "spec/vectors"]
html_theme = "alabaster"
html_theme_options = {"description": "Brokerless RPC over ZeroMQ for Twisted", "page_width": "1100px"}
html_show_sourcelink = False

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints = "signature"
add_module_names = False

# A part of the specification may be listed before it is written.
suppress_warnings = ["toc.empty_glob"]


def name_interfaces(app, what, name, obj, options, signature, returned):
    """Write an interface in a signature by its name, as in the source, and not by its repr."""
    written = [part and re.sub(r"<InterfaceClass (?:\w+\.)*(\w+)>", r"\1", part) for part in (signature, returned)]
    return tuple(written)


def setup(app):
    """Register what is above."""
    app.connect("autodoc-process-signature", name_interfaces)
