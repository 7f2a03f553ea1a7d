"""The demo engine: vLLM's OpenAI protocol in front of fixed rules. Not a language model, and it says so everywhere.

It reads dossiers by labels and patterns, is neither clever nor obedient, and exists so that the whole service can be
tried and tested on one machine. Nothing that it reads well or badly says anything about a real model.
"""
