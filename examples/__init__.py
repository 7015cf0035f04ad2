"""Applications that use Rowgate, and ``python -m examples``, which starts one of them with all it needs."""
