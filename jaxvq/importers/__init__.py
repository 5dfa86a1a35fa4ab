"""Readers of other projects' models and configs."""
