"""A process ends itself right before and right after each commit and each call to the outside; nothing may be lost."""
