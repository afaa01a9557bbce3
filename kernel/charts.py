"""What every picture drawn from figures has in common: drawn on the server, with nothing that runs."""

import sys
from collections.abc import Sequence

import pygal
from pygal.style import Style

# pygal finds its map plugins by an import hook of a form that Python no longer knows, and every later import that looks
# through the hooks is warned of it. We draw no maps.
sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]


def style(colours: Sequence[str]) -> Style:
    """Return how a picture looks: on whatever it stands on, in letters that can be read on a phone."""
    return Style(
        background="transparent",
        plot_background="transparent",
        colors=tuple(colours),
        font_family="sans-serif",
        label_font_size=13,
        major_label_font_size=13,
        legend_font_size=13,
        value_font_size=12,
    )
