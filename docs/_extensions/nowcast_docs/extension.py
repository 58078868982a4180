"""The extension of Sphinx: its directives, and how signatures and attributes look."""

from docutils import nodes
from sphinx.application import Sphinx

from nowcast_docs import drawing, figures, mathml, pages, scores, settings


def _readable(app, what, name, thing, options, signature, returns):
    """Signatures without what says nothing: of classes that leave it to torch, and "<factory>" of
    dataclasses, which is no Python.
    """
    if signature == "(*args: Any, **kwargs: Any)":
        return "", returns
    return signature and signature.replace("<factory>", "..."), returns


def _name_attributes(app, doctree):
    """What docstrings list as attributes is called so."""
    for name in doctree.findall(nodes.field_name):
        if name.astext() == "Variables":
            name[:] = [nodes.Text("Attributes")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives."""
    mathml.setup(app)
    figures.setup(app)
    app.connect("autodoc-process-signature", _readable)
    app.connect("doctree-read", _name_attributes)
    app.add_object_type(settings.OBJECT, settings.OBJECT, objname="setting")
    app.add_directive("nowcast-pages", pages.PagesDirective)
    app.add_directive("nowcast-drawing", drawing.DrawingDirective)
    app.add_directive("nowcast-rooms", drawing.RoomsDirective)
    app.add_object_type(scores.OBJECT, scores.OBJECT, objname="score")
    app.add_directive("nowcast-scores", scores.ScoresDirective)
    app.add_directive("nowcast-group", settings.GroupDirective)
    app.add_directive("nowcast-readers", settings.ReadersDirective)
    app.add_directive("nowcast-options", settings.OptionsDirective)
    app.add_directive("nowcast-command", settings.CommandDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
