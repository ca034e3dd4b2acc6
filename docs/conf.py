"""How Sphinx builds the site: `python -m sphinx -W -b html docs docs/_build/html`, or `.ci/do docs`."""

import re
from importlib import metadata

from pygments.lexers.robotframework import RobotFrameworkLexer
from sphinx.application import Sphinx

project = "httpserve"
author = "the httpserve authors"
release = metadata.version("httpserve")
html_title = f"httpserve {release}"
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wrap.css"]
html_extra_path = ["keywords.html"]  # a page of libdoc's, copied as it is
html_show_copyright = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build"]
nitpicky = False  # the docstrings name things in backquotes, which are no references

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autoclass_content = "both"  # the class, then what its constructor takes
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
_TYPES = ("StrPath", "Until", "Client", "Clients", "UploadClient", "Progress")
autodoc_type_aliases = {name: f"httpserve.{name}" for name in _TYPES}
autodoc_type_aliases["Path"] = "httpserve.StrPath"  # as the storage calls it
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
add_module_names = False  # all of it is imported from httpserve
default_role = "code"  # single backquotes in docstrings are code

ALIAS = re.compile(r"TypeAliasForwardRef\('httpserve\.(\w+)'\)|\bhttpserve\.(?=[A-Z])")


def name_aliases(
    _app: Sphinx, _what: str, _name: str, _object: object, _options: object, *texts: str
) -> tuple[str, ...]:
    """Return a signature and what it returns with the names of aliases as a reader would write them."""
    named = (text and ALIAS.sub(lambda found: found[1] or "", text) for text in texts)
    return tuple(text and re.sub(r": Path\b", ": StrPath", text) for text in named)


def setup(app: Sphinx) -> None:
    """Let blocks say ```robot, as editors do, and signatures name aliases of types."""
    app.add_lexer("robot", RobotFrameworkLexer)
    app.connect("autodoc-process-signature", name_aliases)
