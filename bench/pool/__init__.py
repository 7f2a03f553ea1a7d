"""What pulling is worth: Diwan's pool over engines that keep a pace, beside random pull and round-robin push.

`python -m bench.pool` (`make bench-pool`) runs it; the engines are stand-ins and say so.
"""
