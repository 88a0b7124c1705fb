"""Measures this server beside other engines: same weights, prompts and threads, one at a time."""
