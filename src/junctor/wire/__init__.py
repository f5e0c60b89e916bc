"""Codecs between bytes and the hall's nouns: pure, and free of any I/O."""
