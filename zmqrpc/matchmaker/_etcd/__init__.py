"""The parts of the matchmaker that asks etcd; `zmqrpc.matchmaker.etcd` is what is made of them."""
