"""Methods, baseline, measurements and table of `jaxvq benchmark rd`: bits against error."""
