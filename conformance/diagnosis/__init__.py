"""The first wrong tensor, its likely cause, and a script that shows it."""
