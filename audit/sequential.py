"""Looking more than once: how much of the error each look may spend, so that stopping at any of them is paid for."""

from __future__ import annotations

from canaries.errors import InputError


def confidence_at_look(confidence: float, look: int) -> float:
    """The confidence of the bounds and tests of look 1, 2, ...

    Look k spends alpha / (k (k + 1)), which sums to alpha over all looks, however many there are (alpha spending after
    Lan, DeMets 1983, with the union bound over looks: valid whatever is tested, and under every dependence). So the
    decision to stop may rest on all that was seen.

    >>> round(confidence_at_look(0.95, 1), 6), round(confidence_at_look(0.95, 2), 6)
    (0.975, 0.991667)

    Raises:
        InputError: for a confidence outside (0, 1) or a look below 1.
    """
    if not 0 < confidence < 1:
        raise InputError(f"Expected confidence in (0, 1), got {confidence}.")
    if look < 1:
        raise InputError(f"Expected look >= 1, got {look}.")
    return 1 - (1 - confidence) / (look * (look + 1))


def looks(first: int, most: int) -> tuple[int, ...]:
    """Models at each look: `first`, then twice as many each time, up to `most`.

    >>> looks(8, 50)
    (8, 16, 32, 50)
    """
    if not 1 <= first <= most:
        raise InputError(f"Expected the first look at 1 to {most} models, got {first}.")
    found = [first]
    while found[-1] < most:
        found.append(min(most, 2 * found[-1]))
    return tuple(found)
