"""Shows the Markdown pages of the repository: runbooks and labs."""

from collections.abc import Callable

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup


def render(text: str, link: Callable[[str], str | None]) -> tuple[str, Markup]:
    """Return the title of a page, and the rest of it as HTML; HTML in it is shown as text.

    `link` gives the address here for the target of a link or a picture in the page, or None: then its text
    remains. Links to https:// stay as they are.
    """
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    title = ""
    if len(tokens) > 2 and tokens[0].tag == "h1":
        title, tokens = tokens[1].content.replace("`", ""), tokens[3:]
    for token in tokens:
        # How a column is aligned: the Content-Security-Policy allows no style in an element.
        if token.attrs.pop("style", "") == "text-align:right":
            token.attrSet("class", "number")
        if token.children:
            token.children = _linked(token.children, link)
    # The renderer escapes all text of the file.
    return title, Markup(markdown.renderer.render(tokens, markdown.options, {}))  # noqa: S704


def _linked(tokens: list[Token], link: Callable[[str], str | None]) -> list[Token]:
    kept = []
    dropped = 0
    for token in tokens:
        if token.type == "image":
            source = link(str(token.attrGet("src")))
            if source is None:
                token = Token("text", "", 0, content=token.content)
            else:
                token.attrSet("src", source)
        elif token.type == "link_open":
            target = str(token.attrGet("href"))
            page = link(target)
            if page:
                token.attrSet("href", page)
            elif not target.startswith("https://"):
                dropped += 1
                continue
        elif token.type == "link_close" and dropped:
            dropped -= 1
            continue
        kept.append(token)
    return kept
