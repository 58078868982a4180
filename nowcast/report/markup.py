"""Text from anywhere as text of a page: escaped, and with every character that is not seen made
visible.
"""

from markupsafe import Markup, escape

_LONGEST = 200_000  # characters of one text


def clean(text) -> str:
    """A text without characters that are not seen or turn the direction of others: each is written
    as [U+202E].
    """
    text = str(text).replace("\r\n", "\n")
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}\n[{len(text) - _LONGEST} more characters are left out]"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t\u00a0" else f"[U+{ord(c):04X}]" for c in text)


def shortened(text, most: int = 24) -> str:
    """A text in one line of at most so many characters."""
    text = " ".join(clean(text).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def tag(name: str, *children, **attributes) -> Markup:
    """An element of HTML or SVG.

    Args:
        name: of the element.
        children: elements, or texts, which are escaped.
        attributes: an underscore at the end is dropped, others become hyphens: ``class_``,
            ``stroke_width``. None: it is left out.
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(
        child if isinstance(child, Markup) else str(escape(clean(child))) for child in children
    )
    return Markup(f"<{name}{pairs}>{inside}</{name}>")


def _value(value) -> str:
    return place(value) if isinstance(value, float) else clean(value)


def place(value: float) -> str:
    """A coordinate to a tenth: 12, 12.3."""
    text = f"{value:.1f}"
    return "0" if text == "-0.0" else text.removesuffix(".0")
