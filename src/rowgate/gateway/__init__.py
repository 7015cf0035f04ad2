"""The way of a query: the pipeline, its limits, and the fronts as thin loops around it."""
