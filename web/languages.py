"""Which text is for people: the Chinese the translations are made from."""

import ast
import re
from collections.abc import Iterator
from typing import Any

CHINESE = re.compile("[\u3000-\u303f\u4e00-\u9fff]")
# Words of spreadsheets and of the demonstration: what a file says, not what we say.
# Messages have their English beside them: who reads one does not sit in front of a page of ours.
NOT_FOR_PEOPLE = ("web/demo.py", "web/languages.py", "people/texts.py")


def chinese_in(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of every Chinese text in Python source, the docstrings left out."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        if is_text and CHINESE.search(node.value):
            yield node.lineno, node.value


def extract(fileobj: Any, keywords: Any, comment_tags: Any, options: Any) -> Iterator[tuple[int, str, str, list[str]]]:
    """Yield Babel's messages of a Python file: a refusal's message is its own key, wherever it is raised."""
    if fileobj.name.replace("\\", "/").endswith(NOT_FOR_PEOPLE):
        return
    for line, text in chinese_in(fileobj.read().decode()):
        yield line, "gettext", text, []
