"""What leaves for other systems: webhooks."""
