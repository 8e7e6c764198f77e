"""Tests of the server: raw requests and signals against real processes."""
