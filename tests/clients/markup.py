"""What the policy of the console's pages forbids, found as a browser would find it: in the markup, not in its text."""

from html.parser import HTMLParser


class _Inline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        self.found += [f"{tag} {name}" for name in names if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(tag)


def inline_code(page: str) -> list[str]:
    """Scripts, styles and handlers that stand in the page itself."""
    parser = _Inline()
    parser.feed(page)
    parser.close()
    return parser.found
