"""Who asks: provider recognition, key sets, token verification. Fetching keys is the only I/O of this package."""
