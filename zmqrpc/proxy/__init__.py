"""The stateless processes between clients and servers where a full mesh would be too many connections."""
