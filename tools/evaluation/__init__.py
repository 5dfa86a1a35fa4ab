"""Pictures, charts and pages of what a model does."""
