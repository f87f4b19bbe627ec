"""``python -m alframe``."""

from alframe.cli import main

if __name__ == "__main__":
    main()
