"""Measures Rowgate beside what bounds it and what people would write instead, and counts its instructions."""
