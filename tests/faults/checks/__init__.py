"""What the checker looks at, a module each: events, cases, letters, agent runs, deliveries, the ledger."""
