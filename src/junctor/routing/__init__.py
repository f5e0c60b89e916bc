"""Routing: `model="auto"` becomes the cheapest model that will do, with every reason kept."""
