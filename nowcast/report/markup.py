"""Text from anywhere as text of a page: escaped, and with every character that is not seen made
visible. Elements of HTML and SVG.
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
    if text.isprintable():  # nearly always, and much faster than to look at each character
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
    written = [name]
    for key, value in attributes.items():
        if value is not None:
            text = coordinate(value) if isinstance(value, float) else clean(value)
            written.append(f'{key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    inside = "".join(
        child if isinstance(child, Markup) else escape(clean(child)) for child in children
    )
    return Markup(f"<{' '.join(written)}>{inside}</{name}>")


def straight(kind: str, x1: float, x2: float, y1: float, y2: float) -> Markup:
    """A straight line of SVG with a class."""
    return tag("line", class_=kind, x1=x1, x2=x2, y1=y1, y2=y2)


def text_at(x: float, y: float, kind: str, text: str) -> Markup:
    """A text of SVG with a class."""
    return tag("text", text, class_=kind, x=x, y=y)


def outline(kind: str, path: str) -> Markup:
    """A path of SVG with a class."""
    return tag("path", class_=kind, d=path)


def coordinate(value: float) -> str:
    """A coordinate to a tenth: 12, 12.3."""
    text = f"{value:.1f}"
    return "0" if text == "-0.0" else text.removesuffix(".0")
