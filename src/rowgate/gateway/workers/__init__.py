"""Several processes that serve one address: who gets what of it, who watches them, and what they tell each other."""
