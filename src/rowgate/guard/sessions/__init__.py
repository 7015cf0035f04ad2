"""What interactive sessions may ask beyond queries: transactions, settings, cursors, COPY, structural catalogs."""
