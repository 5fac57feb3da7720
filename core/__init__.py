"""The graph and what runs it. Open `ops.py`, then a page in `models/`, then `decoder.py`."""
