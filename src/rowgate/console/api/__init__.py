"""The management API: JSON over HTTP, behind an admin token."""
