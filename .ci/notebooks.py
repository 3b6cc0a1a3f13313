"""`make notebooks`: see nbtools/execute.py."""

import sys

from nbtools.execute import main

if __name__ == "__main__":
    sys.exit(main())
