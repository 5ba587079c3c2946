"""What `twistd zmq-rpc-server --app wordcount` finds. It is imported to list the plugins; the reactor must not be."""

from wordcount.application import WordCountApplication

wordcount = WordCountApplication()
