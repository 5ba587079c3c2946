"""
Whole systems on bad days: clients, servers, proxies, publishers and a store, simulated from one seed each.

`python -m zmqrpc.test.sim` (``make sim``) runs thousands of them. A `Story` is one seed: a `System`, what is asked
of it (`load`), what goes wrong meanwhile (`faults`), how it ends, and what the judge of its history says. `pool` tells
many stories, and `mutations` are ways to break the promises, to see that stories find it. A `Churn` is a day on which
proxies and servers come and go, and nothing at all may be lost.
"""
