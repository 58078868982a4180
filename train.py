"""`python train.py` is `nowcast train`."""

import sys

from nowcast.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
