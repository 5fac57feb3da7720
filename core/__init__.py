"""The GPT-2 graph and what runs it. Open `ops.py` and `model.py` to read the architecture."""
