"""Makes folders of trained models and built datasets that others use, and puts them on a hub."""
