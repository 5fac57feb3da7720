"""The loop that writes texts, and what it keeps of each."""
