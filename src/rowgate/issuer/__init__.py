"""The local identity provider for development: a signing key, users, JWT templates, and the pages of OIDC discovery."""
