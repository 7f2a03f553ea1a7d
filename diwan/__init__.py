"""Diwan: durable casework for government back-offices. ARCHITECTURE.md is the map."""

__version__ = "0.1.0"
