"""What holds when processes die: a nemesis, senders and people under it, and a checker that trusts none of it."""
