"""``python -m tinygrad_relu``: the same as the command ``tinygrad-relu``."""
import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
