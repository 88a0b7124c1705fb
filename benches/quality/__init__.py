"""What quantization costs: perplexity of executors against float32 of the same weights."""
