"""Tests of the driver of oslo.messaging."""
