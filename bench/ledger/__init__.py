"""What the ledger costs: a change with its entry beside one with a plain audit table, the tree, verifying, bundles."""
