"""
Many processes that use one matchmaker at once: ``python -m zmqrpc.test.matchmaker.crowd URL COUNT``.

They are forked from one that has imported everything, since two hundred interpreters would take the test's time. Each
registers, finds itself, watches until it sees all, waits until all have seen all, and withdraws. For each step the
slowest process's seconds are printed as JSON; the exit code is 0 when every process got through.
"""

import gc
import json
import os
import sys
import time
from typing import Any

from twisted.internet import defer, epollreactor  # noqa: F401  (before the forks)

from zmqrpc.errors import MatchmakerUnavailable
from zmqrpc.matchmaker import find_factory, make_matchmaker
from zmqrpc.settings import Settings
from zmqrpc.testing.matchmaker import make_record


async def take_part(reactor, settings, number, count, everybody_saw_all):
    steps: dict[str, float] = {}

    async def timed(step, begin):
        start = time.monotonic()
        while True:
            try:
                result = await begin()
                break
            except MatchmakerUnavailable:  # so many on few processors may exceed the time limit; a Node tries again
                steps["again"] = steps.get("again", 0) + 1
        steps[step] = round(time.monotonic() - start, 4)
        return result

    matchmaker = make_matchmaker(reactor, settings)
    record = make_record(member=f"node-{number:03}", number=number)
    await timed("register", lambda: matchmaker.register(record, 300))
    found = await timed("lookup", lambda: matchmaker.lookup("openstack", "compute"))
    assert record in [sighting.record for sighting in found], "did not find itself"
    all_seen: defer.Deferred[None] = defer.Deferred()
    stop = matchmaker.watch("openstack", "compute", lambda seen: len(seen) == count and all_seen.callback(None))
    await timed("watch", lambda: all_seen)
    stop()
    found = await timed("second lookup", lambda: matchmaker.lookup("openstack", "compute"))
    assert len(found) == count, f"found {len(found)}"
    everybody_saw_all()
    await timed("withdraw", lambda: matchmaker.withdraw(record))
    await matchmaker.close()
    return steps


def run_member(settings, number, count, report, gate):
    from twisted.internet import reactor as _reactor  # one for each process

    reactor: Any = _reactor

    def everybody_saw_all():
        os.write(report, b'{"saw": "all"}\n')
        os.read(gate, 1)

    def ended(result):
        steps = result if isinstance(result, dict) else {"error": str(result)}
        os.write(report, json.dumps(steps).encode() + b"\n")  # shorter than PIPE_BUF, so it is not torn
        reactor.stop()

    member = take_part(reactor, settings, number, count, everybody_saw_all)
    reactor.callWhenRunning(lambda: defer.Deferred.fromCoroutine(member).addBoth(ended))
    reactor.run(installSignalHandlers=False)


def main(url, count):
    settings = Settings.from_url(url)
    find_factory(settings.matchmaker)
    start_gate, start_end = os.pipe()
    leave_gate, leave_end = os.pipe()
    report_end, report = os.pipe()
    pids = []
    gc.freeze()
    for number in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                for end in (start_end, leave_end, report_end):
                    os.close(end)
                os.read(start_gate, 1)
                run_member(settings, number, count, report, leave_gate)
            finally:
                os._exit(0)
        pids.append(pid)
    os.close(report)
    begin = time.monotonic()
    os.close(start_end)
    slowest, saw, errors = {}, 0, []
    with os.fdopen(report_end) as lines:
        for line in lines:
            steps = json.loads(line)
            if "saw" in steps:
                saw += 1
                if saw == count:
                    slowest["all saw all"] = time.monotonic() - begin
                    os.close(leave_end)
            elif "error" in steps:
                errors.append(steps["error"])
                break
            else:
                slowest = {step: max(seconds, slowest.get(step, 0)) for step, seconds in {**slowest, **steps}.items()}
    for pid in pids:
        if errors:
            os.kill(pid, 9)
        os.waitpid(pid, 0)
    print(json.dumps({"saw": saw, "slowest": slowest, "errors": errors, "total": time.monotonic() - begin}))  # noqa: T201
    return 0 if saw == count and not errors else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
