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
        self._cable = f"to-{name}"[:15]  # the longest name of an adapter
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
        """Have its cable lose what comes, what goes, or both: nobody is told."""
        self._cable_does("drop", incoming, outgoing)

    def lose(self, percent: int) -> None:
        """Have its cable lose so many of a hundred packets, each way."""
        self._cable_does(f"numgen random mod 100 < {percent} drop", incoming=True, outgoing=True)

    def sever(self) -> None:
        """Reset each connection that there is, and no later one, at its next packet from elsewhere."""
        lines = run("ip", "netns", "exec", self.name, "cat", "/proc/net/tcp").splitlines()[1:]
        up = [words for words in map(str.split, lines) if words[3] == "01"]
        pairs = {" . ".join(str(int(end[-4:], 16)) for end in (words[2], words[1])) for words in up}
        self._reset(f"tcp sport . tcp dport {{ {', '.join(sorted(pairs))} }}")

    def reset(self) -> None:
        """Answer whatever comes with a reset, as if nobody listened; count who tries to connect, from and to here."""
        self._reset("")

    def _reset(self, whom: str) -> None:
        self.heal()
        which = 'iifname != "lo" meta l4proto tcp'
        connects = "tcp flags & (syn | ack) == syn"
        self._nft(f"""table inet fault {{
            counter input-tries {{ }}
            counter output-tries {{ }}
            chain input {{
                type filter hook input priority 0;
                {which} {connects} counter name "input-tries"
                {which} {whom} tcp flags & rst != rst reject with tcp reset
            }}
            chain output {{
                type filter hook output priority 0;
                oifname != "lo" {connects} counter name "output-tries"
            }}
        }}
        """)

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
            }}
            """
        )

    def tries(self) -> int:
        """Return how many connections were tried with this host since `reset`."""
        shown = run("ip", "netns", "exec", self.name, "nft", "list", "counters", "table", "inet", "fault")
        return sum(map(int, re.findall(r"packets (\d+)", shown)))

    def heal(self) -> None:
        """End what `cut`, `lose` and `reset` have begun."""
        self._nft("table inet fault\ndelete table inet fault\n")
        run("nft", "-f", "-", text=f"table bridge {self._cable}\ndelete table bridge {self._cable}\n")

    def remove(self) -> None:
        """Give it back; its processes have ended."""
        # First: a kernel takes its time to remove what is in a namespace, and the next host may be called the same.
        run("ip", "link", "del", self._cable)
        run("ip", "netns", "del", self.name)

    def _cable_does(self, fate: str, incoming: bool, outgoing: bool) -> None:
        self.heal()
        # In the bridge: what a host itself drops on its way out, its TCP hears of.
        rules = "".join(
            f"""
                {direction}ifname "{self._cable}" meta l4proto tcp {fate}"""
            for direction, there in (("o", incoming), ("i", outgoing))
            if there
        )
        text = f"""table bridge {self._cable} {{
            chain pass {{
                type filter hook forward priority 0;{rules}
            }}
        }}
        """
        run("nft", "-f", "-", text=text)

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
