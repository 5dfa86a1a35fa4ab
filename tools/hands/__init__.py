"""Motion formats and balanced draws, for `tools.import_hands` and `tools.create_hand_splits`."""
