"""MLflow: the runs that mirror what stages write, the server, and what the terminal shows."""
