"""Where a model's files are, and how they come from the Hugging Face Hub."""
