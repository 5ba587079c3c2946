"""Hosts: network namespaces with one adapter each, all on one bridge; and what can befall a network."""

from __future__ import annotations

import re

from zmqrpc.test.fault.private import run

_BRIDGE = "lan"
_ADAPTER = "eth0"


class Host:
    """
    One machine.

    :ivar name: that of its network namespace, too.
    :ivar address: its IPv4 address.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self._cable = f"to-{name}"[:15]
        run("ip", "netns", "add", name)
        run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", _ADAPTER, "netns", name)
        run("ip", "link", "set", self._cable, "master", _BRIDGE, "up")
        for words in (
            ("address", "add", f"{address}/16", "dev", _ADAPTER),
            ("link", "set", _ADAPTER, "up"),
            ("link", "set", "lo", "up"),
        ):
            run("ip", "-n", name, *words)

    def cut(self, incoming: bool = True, outgoing: bool = True) -> None:
        """Drop what comes, what goes, or both: nobody is told."""
        self._rules("drop", incoming, outgoing)

    def reset(self) -> None:
        """Answer whatever comes with a reset, and count who tries to connect from here and to here."""
        self._rules("reject with tcp reset", incoming=True, outgoing=False)

    def lose(self, percent: int) -> None:
        """Lose so many of a hundred packets, each way."""
        self._rules(f"numgen random mod 100 < {percent} drop", incoming=True, outgoing=True)

    def narrow(self, rate: str) -> None:
        """Let through no more than a rate, such as ``1mbit``, each way."""
        words = ("root", "tbf", "rate", rate, "burst", "16kb", "latency", "200ms")
        run("ip", "netns", "exec", self.name, "tc", "qdisc", "replace", "dev", _ADAPTER, *words)
        run("tc", "qdisc", "replace", "dev", self._cable, *words)

    def widen(self) -> None:
        """End `narrow`."""
        run("ip", "netns", "exec", self.name, "tc", "qdisc", "del", "dev", _ADAPTER, "root")
        run("tc", "qdisc", "del", "dev", self._cable, "root")

    def divert(self, port: int) -> None:
        """Have whoever connects from elsewhere, to whatever port, connect to this port instead."""
        self._nft(
            f"""table inet divert {{
                chain come {{
                    type nat hook prerouting priority -100;
                    iifname != "lo" tcp dport 1-65535 redirect to :{port}
                }}
            }}"""
        )

    def tries(self) -> int:
        """Return how many connections were tried with this host since `reset`."""
        shown = run("ip", "netns", "exec", self.name, "nft", "list", "counters", "table", "inet", "fault")
        return sum(map(int, re.findall(r"packets (\d+)", shown)))

    def heal(self) -> None:
        """End what `cut`, `reset` and `lose` have begun."""
        self._nft("table inet fault\ndelete table inet fault\n")

    def remove(self) -> None:
        """Give it back; its processes have ended."""
        run("ip", "netns", "del", self.name)

    def _rules(self, fate: str, incoming: bool, outgoing: bool) -> None:
        self.heal()
        chains = ""
        for hook, there, adapter in (("input", incoming, "iifname"), ("output", outgoing, "oifname")):
            which = f'{adapter} != "lo" meta l4proto tcp'
            chains += f"""
                counter {hook}-tries {{ }}
                chain {hook} {{
                    type filter hook {hook} priority 0;
                    {which} tcp flags & (syn | ack) == syn counter name "{hook}-tries"
                    {f"{which} {fate}" if there else ""}
                }}"""
        self._nft(f"table inet fault {{ {chains} }}")

    def _nft(self, rules: str) -> None:
        run("ip", "netns", "exec", self.name, "nft", "-f", "-", text=rules)


class Lan:
    """The bridge, and its hosts; this process is connected to it too, as :ivar:`address`."""

    address = "10.99.255.254"

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        run("ip", "link", "add", _BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{self.address}/16", "dev", _BRIDGE)
        run("ip", "link", "set", _BRIDGE, "up")

    def host(self, name: str) -> Host:
        """Add a host."""
        number = len(self.hosts) + 1
        made = self.hosts[name] = Host(name, f"10.99.{number // 200}.{number % 200 + 1}")
        return made

    def heal(self) -> None:
        """End what befell the network."""
        for host in self.hosts.values():
            host.heal()

    def remove(self) -> None:
        """Give everything back."""
        for host in self.hosts.values():
            host.remove()
        run("ip", "link", "del", _BRIDGE)
