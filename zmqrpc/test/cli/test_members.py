"""`zmqrpc ls`, `describe`, `ping` and `bench`, as users run them: real processes."""

from __future__ import annotations

import json
import re
import signal

from zmqrpc.matchmaker._sqlite.file import SqliteFile
from zmqrpc.matchmaker._sqlite.machine import Machine
from zmqrpc.record import Record, Role
from zmqrpc.test.processes import ProcessTestCase, until

APPLICATIONS = """
    from twisted.internet.defer import Deferred
    from zmqrpc import Target, expose

    class Calc:
        @expose
        def add(self, context, a: int, b: int = 3) -> int:
            \"""
            Add two numbers.

            Both are whole.
            \"""
            return a + b

        @expose
        def hang(self, context):
            return Deferred()

    class Counted:
        target = Target()
        calls = 0

        @expose
        def fail_often(self, context):
            self.calls += 1
            if self.calls % 2 == 0:
                raise ValueError("odd")

        @expose
        def reset(self, context):
            self.calls = 0

        @expose
        def count(self, context):
            self.calls += 1
            if self.calls % 300 == 0:
                open("counted", "w").close()

    class Math:
        target = Target(namespace="math", version="1.2")

        @expose
        def root(self, context, x):
            return x ** 0.5

    class Other(Calc):
        @expose
        def more(self, context):
            pass
"""

CALC = """
  add(a: int, b: int = 3) -> int
      Add two numbers.

      Both are whole.

  hang()
"""


class MemberTests(ProcessTestCase):
    def setUp(self):
        super().setUp()
        self.environment["ZMQRPC_URL"] = self.url
        self.module("applications", APPLICATIONS)

    def serve_calc(self, member, *applications, topic="calc"):
        apps = [word for name in applications or ("Calc",) for word in ("--app", f"applications:{name}")]
        return self.serve(*apps, "--topic", topic, "--server", member)

    def zmqrpc(self, *arguments, status=0):
        """Run it, check its status, and return what it wrote to both streams."""
        ended = self.run_to_end("zmqrpc", *arguments)
        self.assertEqual(ended.returncode, status, ended)
        return ended.stdout, ended.stderr

    def assert_fails(self, status, text, *arguments):
        out, err = self.zmqrpc(*arguments, status=status)
        self.assertEqual(out, "")
        self.assert_one_sentence(text, err)

    def test_nobody(self):
        """An empty store is no error; a topic that was named and has nobody is."""
        (self.directory / "matchmaker.db").touch()
        out, err = self.zmqrpc("ls")
        self.assertEqual(out, "")
        self.assert_one_sentence(f"nobody is registered with the matchmaker of {self.url}", err)
        self.assertEqual(self.zmqrpc("ls", "--json"), ("[]\n", ""))
        for command in ("ls", "describe", "ping", "bench"):
            self.assert_fails(3, "NoRoute", command, "calc")
        told = json.loads(self.zmqrpc("ping", "calc", "--json", status=3)[1])
        self.assertEqual((told["error"], told["exit_status"]), ("NoRoute", 3))

    def test_no_file(self):
        """Who only looks makes no file, and says that there is none."""
        path = self.directory / "matchmaker.db"
        missing = f"the matchmaker file {path} does not exist; a server makes it at its start"
        self.assert_one_sentence(missing, self.zmqrpc("ls")[1])
        for words in (("ls", "calc"), ("describe", "calc"), ("ping", "calc"), ("call", "calc", "add")):
            self.assert_fails(3, missing, *words)
        self.assertIn(missing, json.loads(self.zmqrpc("call", "calc", "add", "--json", status=3)[1])["message"])
        self.assert_fails(4, missing, "call", "calc", "add", "--wait", "--timeout", "0.2")
        self.assertEqual(list(self.directory.glob("matchmaker*")), [])

    def test_older_file(self):
        """An older file is reported by `zmqrpc config`, and not with every command; a mistake in it is."""
        (self.directory / "older.conf").write_text(
            "[DEFAULT]\nrpc_backend = zmq\nrpc_zmq_contexts = 1\nrpc_cast_timeout = 5\n[oslo_messaging_zqm]\nfoo = 1\n"
        )
        words = ("--config-file", "older.conf")
        called = self.run_to_end("zmqrpc", "call", "calc", "add", *words)
        self.assertEqual(called.returncode, 3)
        misspelt, nobody = called.stderr.splitlines()
        self.assertIn("did you mean [oslo_messaging_zmq]?", misspelt)
        self.assertIn("NoRoute", nobody)
        shown = self.run_to_end("zmqrpc", "config", *words).stderr
        self.assertEqual(shown.count("is deprecated"), 2, shown)
        self.assertEqual(shown.count("has no effect"), 1, shown)

    def test_no_matchmaker(self):
        url = "zmq+sqlite:///no/such/directory/m.db"
        for words in (("ls",), ("describe", "calc"), ("ping", "calc"), ("bench", "calc")):
            self.assert_fails(6, "its directory does not exist", *words, "--url", url)

    def test_ls(self):
        self.serve_calc("node-1")
        self.serve_calc("node-2", topic="other.topic")
        lines = self.zmqrpc("ls")[0].splitlines()
        self.assertRegex(lines[0], "^TOPIC +MEMBER +ROLE +AGE +STATE +ADDRESS +EXCHANGE +INSTANCE +SUSPICION +SOURCE$")
        path = re.escape(str(self.directory / "matchmaker.db"))
        record = rf" +server +\d+ s  fresh +tcp://127\.0\.0\.1:\d+ +openstack +[0-9a-f]{{8}}  - +{path}$"
        self.assertRegex(lines[1], f"^calc +node-1{record}")
        self.assertRegex(lines[2], f"^other.topic +node-2{record}")
        self.assertEqual(len({line.index("tcp:") for line in lines[1:]}), 1)
        records = json.loads(self.zmqrpc("ls", "--json")[0])
        self.assertEqual(
            [(row["topic"], row["member"]) for row in records], [("calc", "node-1"), ("other.topic", "node-2")]
        )
        age = records[0].pop("age")
        self.assertTrue(0 <= age < 30)
        self.assertAlmostEqual(records[0].pop("expires_in"), 300 - age, 2)
        self.assertRegex(records[0].pop("instance"), "^[0-9a-f]{32}$")
        del records[0]["addresses"]
        self.assertEqual(
            records[0],
            {
                "role": "server",
                "exchange": "openstack",
                "topic": "calc",
                "member": "node-1",
                "for_ever": False,
                "state": "fresh",
                "source": str(self.directory / "matchmaker.db"),
                "suspicion": None,
                "versions": [1, 1],
                "pool": None,
                "subscribes": False,
            },
        )
        self.assertEqual(self.zmqrpc("ls", "--topics"), ("calc\nother.topic\n", ""))
        self.assertEqual(self.zmqrpc("ls", "--topics", "--json"), ('["calc", "other.topic"]\n', ""))
        for topic in ("other.topic", "other.topic.node-2"):
            self.assertEqual(len(self.zmqrpc("ls", topic)[0].splitlines()), 2)
        self.assert_fails(3, "nobody listens on calc.node-2", "ls", "calc.node-2")

    def test_ls_of_doubts(self):
        """What others say of an instance stands with its record, and is none itself."""
        self.serve_calc("node-1")
        (record,) = json.loads(self.zmqrpc("ls", "--json")[0])
        file = SqliteFile(str(self.directory / "matchmaker.db"), Machine())
        self.addCleanup(file.close)
        doubt = {name: record[name] for name in ("exchange", "topic", "member", "instance", "addresses")}
        file.register(Record(Role.DOUBT, **doubt, reason="it refuses\nthe connection"), 30)
        file.register(Record(Role.DOUBT, **{**doubt, "topic": "alone"}), 30)
        (line,) = self.zmqrpc("ls")[0].splitlines()[1:]
        self.assertRegex(line, r" \d+ s ago: it refuses\\nthe connection  /.*matchmaker.db$")
        (told,) = json.loads(self.zmqrpc("ls", "--json")[0])
        self.assertTrue(0 <= told["suspicion"].pop("age") < 30)
        self.assertEqual(told["suspicion"], {"reason": "it refuses\nthe connection"})
        self.assertEqual(self.zmqrpc("ls", "--topics"), ("calc\n", ""))
        self.assert_fails(3, "nobody listens on alone", "ls", "alone")

    def test_configuration_file(self):
        del self.environment["ZMQRPC_URL"]
        self.serve_calc("node-1")
        path = self.directory / "zeromq.conf"
        path.write_text(f"[DEFAULT]\ntransport_url = {self.url}\n")
        self.assertEqual(self.zmqrpc("ls", "--topics", "--config-file", str(path))[0], "calc\n")
        self.assertEqual(self.zmqrpc("ping", "-c", str(path), "calc")[0][:8], "node-1: ")
        path.write_text("[oslo_messaging_zmq]\nuse_router_proxy = sometimes\n")
        self.assert_fails(2, f"use_router_proxy is 'sometimes' ({path} line 2)", "ls", "-c", str(path))

    def test_describe(self):
        """Members that offer the same are described together."""
        self.serve_calc("node-1", "Calc", "Math")
        self.serve_calc("node-2", "Calc", "Math")
        stopped = self.serve_calc("node-3", "Other")
        together = f"node-1, node-2:\n{CALC}\n  namespace math, version 1.2:\n\n  root(x)\n"
        alone = f"node-3:\n{CALC}\n  more()\n"
        self.assertEqual(self.zmqrpc("describe", "calc"), (f"{together}\n{alone}", ""))
        self.assertEqual(self.zmqrpc("describe", "calc.node-3"), (alone, ""))
        self.assertEqual(self.zmqrpc("describe", "--methods", "calc"), ("add\nhang\nmore\nroot\n", ""))
        told = json.loads(self.zmqrpc("describe", "calc", "--json")[0])
        self.assertEqual(
            [[m["member"] for m in group["members"]] for group in told["groups"]], [["node-1", "node-2"], ["node-3"]]
        )
        self.assertIn(
            {"namespace": "math", "version": "1.2", "method": "root", "signature": "(x)", "doc": ""},
            told["groups"][0]["methods"],
        )
        stopped.signal(signal.SIGSTOP)
        out, err = self.zmqrpc("describe", "calc", "--timeout", "1", status=4)
        self.assertEqual(out, together)
        self.assert_one_sentence("zmqrpc describe: node-3: DeadlineExceeded", err)
        told = json.loads(self.zmqrpc("describe", "calc", "--timeout", "1", "--json", status=4)[0])
        self.assertEqual([(m["member"], m["error"]) for m in told["missing"]], [("node-3", "DeadlineExceeded")])

    def test_ping(self):
        self.serve_calc("node-1")
        stopped = self.serve_calc("node-2")
        self.assertRegex(self.zmqrpc("ping", "calc")[0], r"\Anode-1: \d+\.\d\d ms\nnode-2: \d+\.\d\d ms\n\Z")
        out, err = self.zmqrpc("ping", "calc.node-1", "--count", "2", "--interval", "0.1")
        self.assertRegex(
            out, r"\A1: node-1: .* ms\n2: node-1: .* ms\n\nMEMBER .*\nnode-1 +[0-9a-f]{32} +2 +2( +\d+\.\d\d){3}\n\Z"
        )
        stopped.signal(signal.SIGSTOP)
        out, err = self.zmqrpc("ping", "calc", "--timeout", "1", status=4)
        self.assertRegex(out, r"\Anode-1: \d+\.\d\d ms\n\Z")
        self.assert_one_sentence("zmqrpc ping: node-2: DeadlineExceeded", err)
        out, err = self.zmqrpc("ping", "calc", "--timeout", "1", "--json", status=4)
        answered, silent = json.loads(out)
        self.assertEqual((answered["member"], answered["calls"], answered["answers"]), ("node-1", 1, 1))
        self.assertTrue(0 < answered["min"] <= answered["avg"] <= answered["max"] < 1)
        self.assertEqual((answered["last_error"], answered["ready"], answered["not_ready"]), (None, True, ""))
        self.assertEqual((silent["ready"], silent["not_ready"]), (None, None))
        self.assertEqual((silent["member"], silent["answers"], silent["min"]), ("node-2", 0, None))
        self.assertEqual((silent["last_error"]["error"], json.loads(err)["exit_status"]), ("DeadlineExceeded", 4))

    def test_ping_until_interrupted(self):
        """Who has answered once is there, and Ctrl-C ends it like the last round."""
        running = self.serve_calc("node-1")
        pinging = self.start("zmqrpc", "ping", "calc", "--count", "0", "--interval", "0.05", "--timeout", "0.5")
        pinging.says("3: node-1: ")
        running.kill()
        until(lambda: "nobody listens" in pinging.err, lambda: pinging.out + pinging.err)
        self.serve_calc("node-2")
        pinging.says("node-2: ", 2)
        pinging.signal(signal.SIGINT)
        self.assertEqual(pinging.ends(), 0, pinging.err)
        self.assertRegex(pinging.out, r"\nMEMBER .*\nnode-1 .*\nnode-2 .*\n\Z")

    def test_ping_interrupted(self):
        """Nobody was there until then."""
        pinging = self.start("zmqrpc", "ping", "calc", "--count", "0", "--interval", "60")
        until(lambda: "1: nobody listens" in pinging.err, lambda: pinging.err)
        pinging.signal(signal.SIGINT)
        self.assertEqual(pinging.ends(), 3, pinging.err)
        self.assertIn("zmqrpc ping: NoRoute", pinging.err.splitlines()[-1])

    def test_bench(self):
        self.serve_calc("node-1")
        short = ("--duration", "0.3", "--warmup", "0.1")
        out, err = self.zmqrpc("bench", "calc", *short)
        self.assertEqual(err, "")
        self.assertTrue(out.startswith("calc ping, closed loop of 1 outstanding, 0.3 s\n  due "), out)
        self.assertRegex(out, r"\n  latency +p50 +p90 +p99 +p99\.9 +max +mean\n +(\d+\.\d{3} ms *){6}\n\Z")
        out, err = self.zmqrpc("bench", "calc", "add", "a=1", "--rate", "200", *short)
        self.assertIn("calc add, open loop of 200 calls/s, 0.3 s\n", out)
        self.assertIn(" were sent more than 1 ms after they were due; p50 ", out)
        told = json.loads(self.zmqrpc("bench", "calc", "add", "a=1", "--outstanding", "4", *short, "--json")[0])
        self.assertEqual((told["target"], told["method"], told["outstanding"], told["rate"]), ("calc", "add", 4, None))
        self.assertEqual((told["due"], told["unsent"], told["unfinished"]), (told["answered"], 0, 0))
        self.assertEqual((told["errors"], told["late"], told["lateness"]["max"]), ({}, 0, 0))
        self.assertTrue(0 < told["latency"]["p50"] <= told["latency"]["p99.9"] <= told["latency"]["max"])

    def test_bench_fails(self):
        """One call fails before the load begins."""
        self.serve_calc("node-1")
        self.assert_fails(
            5, "zmqrpc bench: InvalidArguments: add: the parameter 'a' is missing", "bench", "calc", "add"
        )
        self.assert_fails(4, "DeadlineExceeded", "bench", "calc", "hang", "--timeout", "0.2")

    def test_bench_with_errors(self):
        """The load goes on, the errors are counted, and the highest status counts."""
        self.serve_calc("node-1", "Counted")
        words = ("bench", "calc", "fail_often", "--duration", "0.3", "--warmup", "0")
        out, err = self.zmqrpc(*words, status=5)
        self.assertEqual(err, "")
        self.assertRegex(out, r"\n  failed     \d+ with RemoteError, the first: RemoteError: ValueError: odd")
        self.zmqrpc("call", "calc", "reset")
        told = json.loads(self.zmqrpc(*words, "--json", status=5)[0])
        failed = told["errors"]["RemoteError"]
        self.assertEqual((failed["exit_status"], failed["first"]["maybe_executed"]), (5, True))
        self.assertEqual(told["due"], told["answered"] + failed["count"])
        self.assertLessEqual(abs(told["answered"] - failed["count"]), 1)

    def test_bench_interrupted(self):
        """What was measured until then is printed."""
        self.serve_calc("node-1", "Counted")
        for load in ("--outstanding", "--rate"):
            benching = self.start(
                *("zmqrpc", "bench", "calc", "count", load, "200", "--duration", "600", "--warmup", "0", "--json")
            )
            counted = self.directory / "counted"
            until(counted.exists, lambda running=benching: running.err)
            benching.signal(signal.SIGINT)
            self.assertEqual(benching.ends(), 0, benching.err)
            counted.unlink()
            told = json.loads(benching.out)
            self.assertGreater(told["answered"], 50)
            self.assertEqual(told["due"], told["answered"] + told["unsent"] + told["unfinished"])
            self.assertTrue(0 < told["seconds"] < 60)

    def test_bench_interrupted_before(self):
        """Nothing was measured."""
        self.serve_calc("node-1", "Counted")
        benching = self.start("zmqrpc", "bench", "calc", "count", "--warmup", "600", "--outstanding", "9")
        until((self.directory / "counted").exists, lambda: benching.err)
        benching.signal(signal.SIGINT)
        self.assertEqual((benching.ends(), benching.out), (130, ""))
        self.assert_one_sentence("zmqrpc bench: Cancelled", benching.err)
