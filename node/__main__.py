"""Entry point of the ``ironnode`` command."""

from node.cli import main

if __name__ == "__main__":
    main()
