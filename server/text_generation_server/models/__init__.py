"""A model's files: where they are, what they describe, their tokenizer and their weights."""
