"""File names of pages."""

from collections.abc import Iterable, Iterator

from mai_harness.storage import file_name


def slugs(names: Iterable[str]) -> Iterator[str]:
    """A file name for each, without a suffix; no two differ only in case, which some file systems do not tell apart."""
    taken: set[str] = set()
    for name in names:
        slug = file_name(name)
        while slug.casefold() in taken:
            slug += "_"
        taken.add(slug.casefold())
        yield slug
