"""The front door: who may come in, what they may bring, and the straight line from request to reply."""
