"""The tests: python -m twisted.trial wordcount."""
