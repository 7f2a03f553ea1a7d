"""Deterministic orchestration: the case and the agent run. Histories carry ids, states and enums only."""
