"""Commands that belong to one paper's experiment."""
