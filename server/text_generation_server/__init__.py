"""The model shard of the text generation server."""
