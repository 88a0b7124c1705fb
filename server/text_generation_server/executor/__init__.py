"""Executors: one protocol (`step`), several devices."""
