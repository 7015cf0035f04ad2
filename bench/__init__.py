"""Measures Rowgate beside what bounds it (pgbench) and what people would write instead (Express)."""
