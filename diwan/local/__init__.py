"""Services that only their own machine reaches (vault, signer): their address, how they listen, what they answer."""
