"""What ``python -m zmqrpc.cli`` runs."""

from zmqrpc.cli import main

if __name__ == "__main__":
    main()
