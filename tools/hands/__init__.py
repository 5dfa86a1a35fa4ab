"""Motion formats and balanced draws, for `import_hands` and `create_hand_splits`."""
