"""The corpus `lsfb_cont`."""
