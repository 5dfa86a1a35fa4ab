"""Folders of trained models and built datasets for others, and their upload to a hub."""
