"""`python -m arrayformer`."""

import sys

from arrayformer.cli import main

if __name__ == "__main__":
    sys.exit(main())
