"""`python -m nowcast` is `nowcast`."""

from nowcast.cli import main

if __name__ == "__main__":
    main()
