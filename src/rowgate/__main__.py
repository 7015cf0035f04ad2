"""``python -m rowgate`` is the command ``rowgate``."""

from rowgate.cli.main import run

if __name__ == "__main__":
    run()
