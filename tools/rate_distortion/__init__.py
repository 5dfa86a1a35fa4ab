"""Methods, baseline, measurements and table of `tools.benchmark_rd`: bits against error."""
