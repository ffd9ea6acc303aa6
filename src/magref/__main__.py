"""`python -m magref` is `magref`."""

from magref.cli import main

if __name__ == "__main__":
    main()
