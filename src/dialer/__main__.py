"""The command `dialer`, also as `python -m dialer`."""

import gc


def run() -> None:
    """Run the command of the arguments of this process, and end it."""
    # What a command loads lives until it ends. Examining these objects for garbage again and again while they are
    # loaded, and once more at the exit, would take a third of the time of a short command.
    gc.set_threshold(500_000, 20, 20)
    from dialer.cli import main

    try:
        main()
    finally:
        gc.freeze()


if __name__ == "__main__":
    run()
