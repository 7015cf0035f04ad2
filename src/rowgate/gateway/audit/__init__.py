"""What was asked and what came of it: one record for each request and each statement of a session.

Records go to memory (the last few, and counters) and, where it is asked for, to a file as lines of JSON. Never holds a
token, a parameter or a row, and never makes a request wait.
"""
