"""`python -m rl`: the command `rl` where its script is not on the path."""

from rl.cli import main

if __name__ == "__main__":
    main()
