"""Sentences of a corpus to Signformer's `.pami0` parts, for `export_signformer`."""
