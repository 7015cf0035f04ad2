"""The soak: many users on every front for a long time, while one thing after another goes wrong around the gateway."""
