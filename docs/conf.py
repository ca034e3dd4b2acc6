"""How Sphinx builds the site: `python -m sphinx -W -b html docs docs/_build/html`, or `.ci/do docs`."""

from importlib import metadata

from pygments.lexers.robotframework import RobotFrameworkLexer
from sphinx.application import Sphinx

project = "httpserve"
author = "the httpserve authors"
release = metadata.version("httpserve")
html_title = f"httpserve {release}"
html_theme = "furo"
html_static_path: list[str] = []
html_show_copyright = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
nitpicky = False  # the docstrings name things in backquotes, which are no references

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autoclass_content = "both"  # the class, then what its constructor takes
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
add_module_names = False  # all of it is imported from httpserve
default_role = "code"  # single backquotes in docstrings are code


def setup(app: Sphinx) -> None:
    """Let blocks say ```robot, as editors do."""
    app.add_lexer("robot", RobotFrameworkLexer)
