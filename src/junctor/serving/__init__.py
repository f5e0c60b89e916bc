"""Local models: fetch their weights, run them in a child process, answer as a `Model`."""
