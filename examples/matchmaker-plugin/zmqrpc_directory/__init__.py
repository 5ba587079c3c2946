"""A matchmaker for zmqrpc: each record is a file in a directory of this machine (``zmq+directory:///path``)."""

import hashlib
import json
import os
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from twisted.internet.defer import DeferredLock
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from zmqrpc.errors import ConfigError, MatchmakerUnavailable
from zmqrpc.interfaces import IMatchmaker, IMatchmakerFactory
from zmqrpc.record import Record, Sighting
from zmqrpc.settings import masked_url

LOOK = 0.1  # seconds between two looks of a watch
LIMIT = 2.0  # seconds that an operation may take
KEEP = 3600  # seconds that the file of an expired record stays


@implementer(IMatchmaker)
class DirectoryMatchmaker:
    log = Logger()

    def __init__(self, reactor, path):
        self._reactor = reactor
        self._path = Path(path)
        self._one_at_a_time = DeferredLock()
        self._watches = []
        self._doubted, self._strange = set(), set()
        self._out = False

    def register(self, record, expire):
        return self._run(self._write, record, expire)

    def withdraw(self, record):
        return self._run(lambda: self._file(record).unlink(missing_ok=True))

    def lookup(self, exchange, topic):
        found = self._run(self._read)
        found.addCallback(lambda all: [s for s in all if (s.record.exchange, s.record.topic) == (exchange, topic)])
        return found.addCallback(sorted, key=lambda s: (s.record.member, s.record.instance, s.record.key))

    def records(self):
        return self._run(self._read).addCallback(sorted, key=lambda s: s.record.key)

    def watch(self, exchange, topic, changed):
        shown = None

        def show(sightings):
            nonlocal shown
            records = [sighting.record for sighting in sightings]
            if looking.running and records != shown:
                shown = records
                try:
                    changed(sightings)
                except Exception:
                    self.log.failure("a watch raised")

        # An outage is logged by _run, and the next look comes by itself.
        looking = LoopingCall(lambda: self.lookup(exchange, topic).addCallbacks(show, lambda failure: None))
        looking.clock = self._reactor
        looking.start(LOOK)
        self._watches.append(looking)

        def stop():
            if looking.running:
                looking.stop()
                self._watches.remove(looking)

        return stop

    def acknowledge(self, record):
        if record.key in self._doubted:
            self._doubted.remove(record.key)
            self.log.info("{member} answers again", member=record.member)

    def neg_acknowledge(self, record, reason):
        if record.key not in self._doubted:
            self._doubted.add(record.key)
            self.log.info("{member} was not reachable: {reason}", member=record.member, reason=reason)

    def bind_address(self, target):
        return None

    def close(self):
        for looking in self._watches:
            looking.stop()
        self._watches.clear()
        return self._one_at_a_time.run(lambda: None)  # when all that was asked before is answered

    def _run(self, work, *arguments):
        """Do something with the files in a thread; fails with `MatchmakerUnavailable` alone."""
        pool = self._reactor.getThreadPool()
        done = self._one_at_a_time.run(deferToThreadPool, self._reactor, pool, work, *arguments)
        return done.addTimeout(LIMIT, self._reactor).addCallbacks(self._worked, self._failed)

    def _worked(self, result):
        if self._out:
            self._out = False
            self.log.info("{path} works again", path=self._path)
        return result

    def _failed(self, failure):
        text = f"{self._path} cannot be used: {failure.getErrorMessage() or failure.type.__name__}"
        if not self._out:
            self._out = True
            self.log.warn("{text}", text=text)
        raise MatchmakerUnavailable(text)

    # In a thread.

    def _file(self, record):
        return self._path / f"{hashlib.sha256(chr(0).join(record.key).encode()).hexdigest()}.json"

    def _write(self, record, expire):
        self._path.mkdir(parents=True, exist_ok=True)
        file = self._file(record)
        new = file.with_suffix(f".{os.urandom(8).hex()}")
        fields = [*record.key[:5], record.addresses, record.versions, record.pool, record.subscribes]
        new.write_text(json.dumps([fields, expire]))
        new.rename(file)  # whoever reads has the old one or the new one

    def _read(self):
        sightings = []
        now = time.time()
        try:
            names = os.listdir(self._path)
        except FileNotFoundError:
            return []  # it is made with the first record
        for file in (self._path / name for name in names if name.endswith(".json")):
            try:
                age = now - file.stat().st_mtime
                if age < 0:  # the clock was set back: it would live too long
                    os.utime(file, (now, now))
                    age = 0.0
                fields, expire = json.loads(file.read_text())
                if not 0 < expire <= age:
                    sightings.append(Sighting(Record(*fields), age))
                elif age > expire + KEEP:
                    file.unlink()
            except FileNotFoundError:
                continue  # it was withdrawn while we read
            except (ValueError, TypeError, ConfigError) as error:
                if file not in self._strange:
                    self._strange.add(file)
                    self.log.warn("{file} holds no record: {error}", file=file, error=error)
        return sightings


@implementer(IMatchmakerFactory)
class DirectoryFactory:
    scheme = "directory"
    local = True

    def make(self, reactor, url, settings):
        parts = urlsplit(url)
        if parts.netloc or not parts.path.strip("/"):
            raise ConfigError(f"{masked_url(url)!r} names no directory; write zmq+directory:///run/zmqrpc/members")
        return DirectoryMatchmaker(reactor, unquote(parts.path))
