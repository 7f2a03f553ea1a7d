"""Agent specs and the pure logic of the agent loop: no I/O but package resources, no clock, no randomness."""
