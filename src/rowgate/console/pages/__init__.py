"""The console's web pages: rendered here, on the management port, for people who have signed in."""
