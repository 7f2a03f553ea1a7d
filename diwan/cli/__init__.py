"""The `diwan` command: the only reader of settings, and where the parts are wired together."""
