"""Proxies that say what no proxy says: it is counted, and harms nobody."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zmqrpc import Target
from zmqrpc.core.batch import encode_batch
from zmqrpc.core.envelope import (
    Ack,
    Beat,
    Call,
    Cancel,
    Goaway,
    Hello,
    Nack,
    Ping,
    Pong,
    Refusal,
    Reply,
    Welcome,
    encode_message,
)
from zmqrpc.core.keys import SELF_KEY, instance_key, topic_key
from zmqrpc.test.little_proxy import LittleProxy
from zmqrpc.test.scenarios.endpoints import Worker
from zmqrpc.testing import Network

WORK = Target("work")
STRANGER = b"\x99" * 16

messages = st.sampled_from(
    [
        Ack([1, 2**63]),
        Beat([1, 5, 3]),
        Cancel([0, 2**64 - 1]),
        Call(1, 1, 0, 1000, "openstack", "work", None, None, None, "mark", {}),
        Goaway("for fun"),
        Hello(1, 1, "client", [], {}, []),
        Hello(7, 9, "server", [], {}, []),
        Ping(1),
        Pong(77),
        Reply(1, "forged"),
        Welcome(1, 0, "router", ["publish"], {"message": 10}, []),
        Welcome(1, 0, "server", [], {}, []),
        Welcome(9, 0, "router", [], {}, []),
        Nack(Refusal.WRONG_INSTANCE, []),
        Nack(Refusal.WRONG_INSTANCE, [1, 100]),
        Nack(Refusal.OVERLOADED, [], "", b"junk"),
        Nack(Refusal.UNROUTABLE, [], "", b""),
        Nack(Refusal.UNROUTABLE, []),
        Nack(Refusal.BAD_VERSION, []),
        Nack(255, [], "x" * 5000, encode_batch(STRANGER, STRANGER, 0, (), [b"\xc0"])),
        Nack(Refusal.UNROUTABLE, [], "", encode_batch(STRANGER, None, 0, (), [encode_message(Ping(1))])),
    ]
)


class HostileProxyTests(SynchronousTestCase):
    """One proxy is as it should be, and one writes whatever it likes on every connection that it has."""

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_what_it_says_harms_nobody(self, data):
        network = Network(9)
        good, bad = LittleProxy(network, "good"), LittleProxy(network, "bad")
        worker = Worker("a")
        server = network.serve(Target("work", server="a"), worker)
        client = network.client(zmq_topology="router-proxy")
        node = network.nodes[-1]
        network.run(0.5)
        network.result_of(client.call(WORK, "mark"))
        keys = [SELF_KEY, instance_key(node.instance), instance_key(server.instance), instance_key(STRANGER)]
        keys += [topic_key("a", "b"), b"Tnonsense", b"I", b"K" * 17, b"\xff" * 40]
        sources = st.sampled_from([bad.instance, server.instance, node.instance, STRANGER])
        batches = st.builds(
            lambda source, to, said: encode_batch(source, to, 5, (), [encode_message(each) for each in said]),
            sources,
            st.sampled_from([None, node.instance, server.instance, STRANGER]),
            st.lists(messages, min_size=1, max_size=3),
        )
        for _ in range(data.draw(st.integers(1, 8))):
            key = data.draw(st.sampled_from(keys))
            payload = data.draw(st.one_of(batches, st.binary(max_size=40)))
            for side, identity in list(bad._behind):
                side.router.send_keyed(identity, key, payload)
        network.run(0.2)
        bad.withdraw()
        bad.kill()
        network.run(3)
        for number in range(3):
            call = client.call(WORK, "mark", {"number": number + 10}, timeout=20, wait_for_ready=True)
            self.assertEqual(network.result_of(call), "a")
        self.assertEqual(worker.ran[-3:], [10, 11, 12])
        good.kill()
        network.close()
        self.assertEqual(self.flushLoggedErrors(), [])
