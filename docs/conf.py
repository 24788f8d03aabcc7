"""How Sphinx builds the documentation: ``make docs``."""

from pallets_sphinx_themes import get_version

project = "Flask-SSE"
copyright = "2026 The Flask-SSE maintainers"  # noqa: A001 - Sphinx's own name for it
author = "The Flask-SSE maintainers"
release, version = get_version("Flask-SSE", placeholder=None)

extensions = ["pallets_sphinx_themes", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "snippets"]
templates_path: list[str] = []

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_numpy_docstring = False

html_theme = "flask"
html_title = f"Flask-SSE {release}"
html_show_sourcelink = False
html_copy_source = False
# The banner would ask a package index for the newest version.
version_banner = False
