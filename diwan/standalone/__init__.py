"""Programs in one file, for those who have no Diwan: each runs by itself with Python and `cryptography`."""
