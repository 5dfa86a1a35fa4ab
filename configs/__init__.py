"""The configs: `jaxvq train NAME:VARIANT`."""
