"""What runs inside an engine's own environment."""
