"""Numbers of things in sentences."""


def counted(number: int, noun: str, several: str | None = None) -> str:
    """A number with its noun: "1 epoch", "2 epochs".

    Args:
        number: The number.
        noun: The noun for one, with what follows it ("epoch is").
        several: The same for other numbers; None adds an s.
    """
    return f"{number} {noun if number == 1 else several or f'{noun}s'}"
