"""Sphinx configuration of the lenet_pl documentation. Nothing is downloaded during a build."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

import lenet_pl  # noqa: E402

project = "lenet_pl"
author = "the lenet_pl authors"
copyright = author
release = version = lenet_pl.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "architecture_diagram",
    "settings_reference",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_ext"]
templates_path: list[str] = []
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # generated pages begin sections at the second level

default_role = "code"  # the docstrings of the package write code between single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "show-inheritance": True}
python_maximum_signature_line_length = 80
autodoc_inherit_docstrings = False  # Lightning's hooks are documented there
# References into other packages would need their inventories, which are on the network. Settings classes are described
# on pages of their own; the folders after them hold what no user calls.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!lenet_pl\.).*"),
    (r"py:.*", r"lenet_pl\.(settings|runtime|display|data\.data_record|data\.run_images)\..*"),
]

copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = "lenet_pl"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1d5fa8", "color-brand-content": "#1d5fa8"},
    "dark_css_variables": {"color-brand-primary": "#7fb4f0", "color-brand-content": "#7fb4f0"},
}
