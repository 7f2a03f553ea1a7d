"""What workflows call: each activity is one transaction or one call outside, keyed, its clients injected."""
