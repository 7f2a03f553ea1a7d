"""The embedded stack: every part of Diwan on one machine, nothing installed by hand."""
