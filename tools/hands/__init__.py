"""Motion formats, balanced draws, pictures and metrics of hands, for the programs of hands."""
