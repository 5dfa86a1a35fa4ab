"""What tokens cost and how far off the poses are that come back: methods, baselines, comparison."""
