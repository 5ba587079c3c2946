"""What zmqrpc is measured against; each module is one contender, both its server and its client."""
