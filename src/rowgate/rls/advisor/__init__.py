"""The advisor: rules about a database, one module for each family, and what they find."""
