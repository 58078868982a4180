"""What a reader may conclude from an evaluation, in sentences."""

from nowcast.evaluation.intervals import FEWEST_BLOCKS

_FEW_BLOCKS = 10  # fewer make intervals that are too narrow
_ONE = (
    "All cases are of one event: the scores, their intervals and every difference describe this "
    "event alone, and say nothing about another one."
)
_BY_EVENTS = (  # (for fewer events than these, what may be concluded)
    (
        5,
        "The cases are of {events} events: differences that hold in each of them are an "
        "indication; how models compare on other events cannot be told from so few, and the "
        "intervals hold for these events.",
    ),
    (
        20,
        "The cases are of {events} events: a difference whose interval leaves out 0 is likely to "
        "hold on similar events; its size is known roughly.",
    ),
)
_MANY = (
    "The cases are of {events} events: a difference whose interval leaves out 0 can be expected on "
    "other events of the same kind, radar and season."
)


def conclusion(events: int, blocks: int, *, by_time: bool) -> list[str]:
    """What may be concluded from so many events.

    Args:
        events: independent ones.
        blocks: that intervals are drawn from.
        by_time: whether cases are of weather; others are independent sequences.
    """
    if not by_time:
        first = (
            f"The sequences are independent of each other: intervals from {blocks} groups of "
            "them hold for other sequences of the same kind."
        )
    elif events == 1:
        first = _ONE
    else:
        first = next((text for limit, text in _BY_EVENTS if events < limit), _MANY)
    found = [first.format(events=events)]
    if blocks < FEWEST_BLOCKS:
        found.append("One block of cases has no interval.")
    elif blocks < _FEW_BLOCKS:
        found.append(
            f"Intervals from {blocks} blocks are too narrow: bootstraps of fewer than ten miss the "
            "truth more often than they say."
        )
    return [*found, "Of many scores at 95 %, one in twenty differs by chance."]
