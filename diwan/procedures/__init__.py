"""A ministry's procedures as files: read, checked, compared, and applied to a case. Pure: no clock, no I/O."""
