"""The HTTP side: intake, worklists and reading; authentication; problems as RFC 9457."""
