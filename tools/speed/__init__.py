"""What only tools/benchmark_step.py needs."""
