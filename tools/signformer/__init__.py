"""Sentences of a corpus to Signformer's `.pami0` parts, for `tools.export_signformer`."""
