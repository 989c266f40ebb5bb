"""What every page of the site must be: read back by ``html.parser``, well made, and leading nowhere else."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import PurePosixPath
from typing import Any

from mai_harness.render import Pages, assets

Trees = dict[PurePosixPath, "Node"]

PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"  #: of the path of any file of the site
HREF = rf"(data:,|(\.\./){{0,3}}({PART}/)*{PART})?(#[a-z][a-z0-9-]*)?"  #: all that may be linked to
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
BLOCKS = {"article", "div", "dl", "figure", "footer", "h1", "h2", "h3", "h4", "header", "main", "ol", "p", "pre",
          "section", "table", "ul"}  # fmt: skip
LOADERS = {"iframe", "frame", "object", "embed", "base", "video", "audio", "use", "applet", "portal"}
ADDRESSES = {"href", "src", "srcset", "xlink:href", "action", "formaction", "poster", "data", "cite", "ping",
             "background", "longdesc", "manifest"}  # fmt: skip
POINTERS = {"aria-labelledby", "aria-describedby", "aria-controls", "aria-details", "aria-owns", "for", "list"}


@dataclass
class Node:
    """An element; ``children`` are elements and strings in order."""

    tag: str
    attributes: dict[str, str]
    children: list["Node | str"] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    @property
    def ids(self) -> list[str]:
        """Of all elements, in order."""
        return [node.attributes["id"] for node in self.walk() if "id" in node.attributes]

    def walk(self) -> Iterator["Node"]:
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def all(self, tag: str, class_: str | None = None) -> list["Node"]:
        return [n for n in self.walk() if n.tag == tag and (class_ is None or class_ in n.classes)]

    def one(self, tag: str, class_: str | None = None) -> "Node":
        (found,) = self.all(tag, class_)
        return found

    def section(self, heading: str) -> "Node":
        (found,) = (n for n in self.all("section") if n.attributes.get("aria-labelledby") == heading)
        return found


class Reader(HTMLParser):
    """Builds the tree, and refuses a tag that is not closed where it should be, or an attribute given twice."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> has an attribute twice"
        assert tag not in BLOCKS or "p" not in [node.tag for node in self._open], (
            f"<{tag}> ends the paragraph around it"
        )
        node = Node(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(node)
        if tag not in VOID:
            self._open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in [node.tag for node in self._open], f"<{tag}/> outside SVG stays open"
        self._open[-1].children.append(Node(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> where <{self._open[-1].tag}> is open"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def close(self) -> None:
        super().close()
        assert [node.tag for node in self._open] == [""], "elements stay open"


def parsed(page: str) -> Node:
    """A page as a tree.

    Raises:
        AssertionError: its elements are not nested as they are written, or it has a comment.
    """
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader.root


def html(pages: Pages) -> dict[PurePosixPath, str]:
    """Those files of the site that are pages."""
    return {path: text for path, text in pages.items() if path.suffix == ".html" and isinstance(text, str)}


def entries(pages: Pages) -> dict[PurePosixPath, str]:
    """The pages of entries."""
    return {path: text for path, text in html(pages).items() if path.parts[0] == "entries"}


def trees(pages: Pages) -> Trees:
    """Every page as a tree."""
    return {path: parsed(text) for path, text in html(pages).items()}


def target(path: PurePosixPath, address: str) -> tuple[PurePosixPath, str]:
    """What a relative address on the page at ``path`` leads to: a file of the site, and a place in it or ''.

    Raises:
        AssertionError: it leads out of the site.
    """
    file, _, place = address.partition("#")
    if not file:
        return path, place
    parts = list(path.parent.parts)
    for part in PurePosixPath(file).parts:
        assert part != ".." or parts, f"{path}: {address} leads out of the site"
        parts = parts[:-1] if part == ".." else [*parts, part]
    return PurePosixPath(*parts), place


# Every page is well made


def well_made(pages: Pages, beside: Pages | None = None) -> Trees:
    """Assert of every page what a reader, a keyboard and a screen reader rely on; the pages as trees.

    Args:
        beside: files that the pages may lead to and that are not checked themselves; the assets need not be named.
    """
    own = trees(pages)
    known = trees(beside or {}) | own
    files = {*pages, *(beside or {}), *assets()}
    for path, page in own.items():
        assert re.match(r'<!doctype html>\n<html lang="[a-z]{2}">\n<head>\n<meta charset="utf-8">', pages[path]), path
        for check in (_outline, _ids, _images, _labels, _regions):
            check(path, page)
        _links(path, page, known, files)
    return own


def _outline(path: PurePosixPath, page: Node) -> None:
    """One title, one main part, one first heading, and no level of headings left out below it."""
    assert page.one("head").one("title").text.strip(), path
    assert len(page.all("main")) == 1, path
    levels = [int(node.tag[1]) for node in page.walk() if re.fullmatch(r"h[1-6]", node.tag)]
    assert levels[0] == 1, (path, levels)
    assert levels.count(1) == 1, (path, levels)
    for before, after in itertools.pairwise(levels):
        assert after <= before + 1, (path, "a level of headings is left out", levels)


def _ids(path: PurePosixPath, page: Node) -> None:
    """Ids are fixed words, once each, and all that is pointed at exists."""
    ids = page.ids
    assert len(set(ids)) == len(ids), (path, sorted(id_ for id_ in set(ids) if ids.count(id_) > 1))
    for id_ in ids:
        assert re.fullmatch(r"[a-z0-9-]+", id_), (path, id_)
    for node in page.walk():
        for name in POINTERS & set(node.attributes):
            assert set(node.attributes[name].split()) <= set(ids), (path, node.tag, node.attributes)


def _images(path: PurePosixPath, page: Node) -> None:
    """Every image has words, a size, and waits until it is near, unless the page itself holds it."""
    for image in page.all("img"):
        given = image.attributes
        assert "alt" in given, (path, given.get("src", "")[:80])
        for side in ("width", "height"):
            assert re.fullmatch(r"[1-9]\d*", given.get(side, "")), (path, side, given["alt"])
        assert given["src"].startswith("data:") or given.get("loading") == "lazy", (path, given["src"])


def _labels(path: PurePosixPath, page: Node) -> None:
    """Whatever can be operated has a name that is read out."""
    fors = {node.attributes["for"] for node in page.all("label") if "for" in node.attributes and node.text.strip()}
    wrapped = [id(node) for label in page.all("label") if label.text.strip() for node in label.walk()]
    for node in page.walk():
        given = node.attributes
        named = given.get("aria-label", "").strip() or "aria-labelledby" in given
        if node.tag in {"input", "select", "textarea", "meter", "progress"} and given.get("type") != "hidden":
            assert named or given.get("id") in fors or id(node) in wrapped, (path, node.tag, given)
        elif node.tag in {"button", "summary"} or (node.tag == "a" and "href" in given):
            told = node.text.strip() or any(image.attributes.get("alt", "").strip() for image in node.all("img"))
            assert named or told, (path, node.tag, given)


def _regions(path: PurePosixPath, page: Node) -> None:
    """What scrolls is named and can be reached by keyboard; a drawing is named or hidden."""
    hidden = {
        id(n) for node in page.walk() if node.attributes.get("aria-hidden") == "true" for n in node.walk()
    }  # fmt: skip
    for node in page.walk():
        named = {"aria-label", "aria-labelledby"} & set(node.attributes)
        if "scroll" in node.classes:
            assert named, (path, node.attributes)
            assert node.attributes.get("role") in {"region", "group"}, (path, node.attributes)
            assert node.attributes.get("tabindex") == "0", (path, node.attributes)
        if node.tag == "svg" and id(node) not in hidden:
            assert named, (path, node.attributes)


def _links(path: PurePosixPath, page: Node, known: Mapping[PurePosixPath, Node], files: set[PurePosixPath]) -> None:
    """Every relative address leads to a file that there is, and every place in a page exists."""
    for node in page.walk():
        for name in {"href", "src", "xlink:href"} & set(node.attributes):
            address = node.attributes[name]
            if address.startswith("data:"):
                continue
            there, place = target(path, address)
            assert there in files, (path, node.tag, address)
            assert not place or place in known[there].ids, (path, node.tag, address)


# Nothing is loaded from elsewhere, and no script stands in a page


def self_contained(pages: Trees) -> None:
    """Assert that no page can run or load anything but the site's own files."""
    for path, page in pages.items():
        for node in page.walk():
            assert node.tag not in LOADERS, (path, node.tag)
            for name, value in node.attributes.items():
                assert not name.startswith("on"), (path, node.tag, name)
                assert name not in ADDRESSES or _is_own(node.tag, name, value), (path, node.tag, name, value[:200])
                assert name != "style" or not re.search(r"url\(|expression|@import|//", value), (path, value)
        for style in page.all("style"):
            assert not re.search(r"url\(|@import|@font-face|//", style.text), path
        for script in page.all("script"):
            _script(path, script)
        _policy(path, page)


def _is_own(tag: str, name: str, value: str) -> bool:
    if (tag, name) == ("img", "src") and re.fullmatch(r"data:image/(webp|png);base64,[A-Za-z0-9+/]+=*", value):
        return True
    return re.fullmatch(HREF, value) is not None


def _script(path: PurePosixPath, script: Node) -> None:
    """It is a file of ours that waits for the page, or data that never runs."""
    if script.attributes.get("type") == "application/json":
        assert set(script.attributes) == {"type", "id"}, (path, script.attributes)
        assert "<" not in script.text, (path, script.attributes)
    else:
        assert set(script.attributes) == {"defer", "src"}, (path, script.attributes)
        there, _ = target(path, script.attributes["src"])
        assert there in assets(), (path, there)
        assert not script.text, (path, there)


def _policy(path: PurePosixPath, page: Node) -> None:
    """The page's policy comes before all that it governs, and allows the site's own files alone."""
    (policy,) = (m for m in page.all("meta") if "http-equiv" in m.attributes)
    assert policy.attributes["http-equiv"] == "Content-Security-Policy", path
    assert page.one("head").children[3] is policy, path
    rules = dict(rule.strip().split(" ", 1) for rule in policy.attributes["content"].split(";"))
    assert rules["default-src"] == "'none'", path
    assert rules["script-src"] == "'self'", path
    assert rules["base-uri"] == rules["form-action"] == "'none'", path
    assert set(" ".join(rules.values()).split()) <= {"'none'", "'self'", "'unsafe-inline'", "data:"}, path


# Words change words only


def skeleton(page: Node) -> list[Any]:
    """Every tag with its attributes, but for the values of those that bear words, names, or paths made of names."""
    return [
        (node.tag, {name: "" if _bears_words(node.tag, name) else value for name, value in node.attributes.items()})
        for node in page.walk()
    ]


def _bears_words(tag: str, name: str) -> bool:
    words = {"title", "datetime", "aria-label", "alt", "href", "id", "download", "value", "placeholder"} | POINTERS
    return name in words or name.startswith("data-") or (tag, name) in {("img", "src"), ("meta", "content")}


def harmless(words: str) -> str:
    """As long, and of lines as many, so that what depends on length is the same."""
    return re.sub(r"[^\r\n]", "w", words)


def shown(words: str) -> str:
    """As a page has them, line ends aside: characters that a page may not hold are replaced."""
    return re.sub(
        r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", "\ufffd", words
    )  # fmt: skip
