"""An application of zmqrpc that counts words."""

from wordcount.application import WordCount, WordCountApplication

__all__ = ["WordCount", "WordCountApplication"]
