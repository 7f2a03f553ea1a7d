"""The routes under /v1, and the parsing and checking of what comes in through them."""
