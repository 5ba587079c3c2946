"""Reading INI files: what is in them, where, and what is said about those that cannot be read."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc.errors import ConfigError
from zmqrpc.ini import MOST, read


class IniTests(SynchronousTestCase):
    def write(self, content):
        path = Path(self.mktemp())
        path.write_bytes(content if isinstance(content, bytes) else dedent(content).encode())
        return str(path)

    def read(self, content):
        return [(entry.section, entry.name, entry.value, entry.line) for entry in read(self.write(content)).entries]

    def test_lines(self):
        """Everything has its section and its line; what is given twice is there twice."""
        path = self.write(
            """\
            # a comment
            [DEFAULT]
            a = 1

            [other]
            ; another
            b: 2
            a=3
            [DEFAULT]
            a = 4
            """
        )
        file = read(path)
        self.assertEqual(file.sections, {"DEFAULT": 2, "other": 5})
        self.assertEqual(
            [(entry.section, entry.name, entry.value, entry.line) for entry in file.entries],
            [("DEFAULT", "a", "1", 3), ("other", "b", "2", 7), ("other", "a", "3", 8), ("DEFAULT", "a", "4", 10)],
        )
        self.assertEqual(file.entries[1].place, f"{path} line 7")

    def test_values(self):
        """One pair of quotes is stripped; nothing else means anything."""
        for written, value in (
            ('"zmq://"', "zmq://"),
            ("'zmq://'", "zmq://"),
            ('"it\'s"', "it's"),
            ('"half', '"half'),
            ('"', '"'),
            ('""', ""),
            ("", ""),
            ("a = b : c", "a = b : c"),
            ("%40 %(a)s $a ${b}", "%40 %(a)s $a ${b}"),
            ("x # y ; z", "x # y ; z"),
            ("grün", "grün"),
        ):
            self.assertEqual(self.read(f"[s]\nx = {written}\n"), [("s", "x", value, 2)])

    def test_names(self):
        """Names keep their case; a ``DEFAULT`` is in no other section."""
        self.assertEqual(
            self.read("[DEFAULT]\nA = 1\n[S]\na = 2\n[ S ]\nb=3\n"),
            [("DEFAULT", "A", "1", 2), ("S", "a", "2", 4), ("S", "b", "3", 6)],
        )

    def test_several_lines(self):
        """A value goes on in lines that are indented more, over comments, until an empty line or less indent."""
        self.assertEqual(
            self.read(
                """\
                [s]
                a = 1,
                    2,
                # between
                    3
                b = 4

                    c = 5
                  d = 6
                """
            ),
            [("s", "a", "1,\n2,\n3", 2), ("s", "b", "4", 6), ("s", "c", "5", 8), ("s", "d", "6", 9)],
        )

    def test_indented_as_a_whole(self):
        """A file as a document shows it means the same."""
        content = "[s]\na = 1\n\n[t]\n# c\nb = 2\nc = 3\n\nd = 4\n"
        self.assertEqual(self.read(indent(content, "        ")), self.read(content))

    def test_line_ends_and_mark(self):
        """Files of other systems mean the same."""
        content = b"[s]\na = 1\nb = 2\n"
        for other in (content.replace(b"\n", b"\r\n"), content.replace(b"\n", b"\r"), b"\xef\xbb\xbf" + content):
            self.assertEqual(self.read(other), self.read(content))

    def assertRefused(self, path, text):
        error = str(self.assertRaises(ConfigError, read, path))
        self.assertIn(path, error)
        self.assertIn(text, error)
        self.assertNotIn("\n", error)
        self.assertNotIn("QQQ", error)

    def test_unreadable(self):
        for path, text in (
            ("/no/such/file", "cannot be read (No such file or directory)"),
            ("/", "cannot be read (Is a directory)"),
            ("/dev/zero", f"has more than {MOST >> 20} MiB"),
            ("/proc/self/mem", "cannot be read (Input/output error)"),
        ):
            self.assertRefused(path, text)
        self.assertIn("embedded null byte", str(self.assertRaises(ConfigError, read, "a\0b")))

    def test_malformed(self):
        """What is said does not repeat the line, which may hold a password."""
        for content, text in (
            ("", "is empty; write [DEFAULT]"),
            ("\n \n# only\n; comments\n", "is empty; write [DEFAULT]"),
            (b"\x7fELF\x02\x01\x01\0", "is no text: line 1 holds a byte of value 0; give an INI file in UTF-8"),
            (b"[s]\na = \xff\n", "is no text: line 2 is not UTF-8; give an INI file in UTF-8"),
            ("password = QQQ\n[s]\n", "line 1 stands before any section; write [DEFAULT] above it"),
            ("# c\n\n[s]\npassword QQQ\n", "line 4 is neither a [section] nor NAME = VALUE nor a # comment"),
            ("[s]\n= QQQ\n", "line 2 is neither"),
            (
                "[DEFAULT\nQQQ\n",
                "line 1 begins with [ and is no section; write its name and ], for example [DEFAULT] or",
            ),
            ("[s]\na = 1\n# c\n[DEFAULT\npassword = QQQ\n", "line 4 begins with [ and is no section; write its name"),
            ("[]\n", "line 1 begins with [ and is no section"),
        ):
            self.assertRefused(self.write(content), text)


_WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cc", "Zl", "Zp"]), max_size=20
)
_MANY = settings(max_examples=60, derandomize=True, database=None)
_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)


class PropertyTests(SynchronousTestCase):
    def setUp(self):
        self.path = self.mktemp()

    @_MANY
    @given(st.dictionaries(_NAMES, st.lists(st.tuples(_NAMES, _WORDS)), min_size=1))
    def test_what_is_written_is_read(self, sections):
        """Any value on one line comes back, in its place, but for space and one pair of quotes around it."""
        lines, expected = [], []
        for section, options in sections.items():
            lines.append(f"[{section}]")
            for name, value in options:
                lines.append(f'{name} = "{value}"')
                expected.append((section, name, value, len(lines)))
        Path(self.path).write_text("\n".join(lines), encoding="utf-8", newline="")
        entries = read(self.path).entries
        self.assertEqual([(entry.section, entry.name, entry.value, entry.line) for entry in entries], expected)

    @_MANY
    @given(st.binary(max_size=200))
    def test_anything(self, content):
        """Whatever a file holds, it is read or refused in one line that names it."""
        Path(self.path).write_bytes(content)
        try:
            read(self.path)
        except ConfigError as error:
            self.assertIn(self.path, str(error))
            self.assertNotIn("\n", str(error))

    @_MANY
    @given(st.text("[]=:;#\"' \n\tab$%", max_size=60))
    def test_anything_like_it(self, content):
        Path(self.path).write_text(content)
        try:
            read(self.path)
        except ConfigError as error:
            self.assertIn(self.path, str(error))
            self.assertNotIn("\n", str(error))
