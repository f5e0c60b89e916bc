"""The pool: every model by name, and all that stands between us and it."""
