"""What the checker looks at, a module each: events, cases, letters, reminders, agent runs, deliveries, the ledger."""
