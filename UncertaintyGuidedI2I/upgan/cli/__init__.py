"""The command line: ``upgan translate | train | evaluate | simulate | bundle | info | worker``."""


def main() -> None:
    """Run the command that this process was started with, and end with its exit code."""
    # What it needs is imported when it is called: who looks into this room waits for none of it.
    from upgan.cli.commands import main as run

    run()
