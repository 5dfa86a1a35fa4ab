"""The corpus `tokens`: the tokens of a built dataset."""
