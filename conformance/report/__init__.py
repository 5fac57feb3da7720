"""What is made of results: the terminal, JSON, JUnit, a page."""
