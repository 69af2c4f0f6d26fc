"""``python -m upgan.cli``, as torchrun starts it."""

from upgan.cli.commands import main

if __name__ == "__main__":
    main()
