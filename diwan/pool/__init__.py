"""The vLLM side: a client of one engine, and the registry of models. Placement and supervision come beside them."""
