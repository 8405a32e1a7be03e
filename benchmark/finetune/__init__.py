"""Fine-tuning of a Qwen3-VL on the benchmark's items: from Parquet and pictures to a bundle that the worker loads."""
