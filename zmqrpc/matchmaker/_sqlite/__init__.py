"""The parts of the matchmaker in an SQLite file."""
