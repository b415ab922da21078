"""Tests of sinks/: on the real engine, in this process and through HTTP."""
