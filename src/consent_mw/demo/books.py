"""The books of the demo shop, all old enough to be in the public domain."""

from __future__ import annotations

from typing import NamedTuple


class Book(NamedTuple):
    """One book. `titles` and `authors` are by language, `stock` is the number of copies."""

    id: str
    titles: dict[str, str]
    authors: dict[str, str]
    year: int
    price_won: int
    stock: int


def _book(name: str, ko: tuple[str, str], en: tuple[str, str], year: int, price_won: int, stock: int) -> Book:
    return Book(name, {"ko": ko[0], "en": en[0]}, {"ko": ko[1], "en": en[1]}, year, price_won, stock)


BOOKS = (
    _book("sky", ("하늘과 바람과 별과 시", "윤동주"), ("Sky, Wind, Star and Poem", "Yun Dong-ju"), 1948, 12_000, 7),
    _book("azaleas", ("진달래꽃", "김소월"), ("Azaleas", "Kim Sowol"), 1925, 11_000, 4),
    _book("lighthouse", ("등대로", "버지니아 울프"), ("To the Lighthouse", "Virginia Woolf"), 1927, 14_500, 2),
    _book("wings", ("날개", "이상"), ("Wings", "Yi Sang"), 1936, 9_800, 0),
    _book("moby", ("모비 딕", "허먼 멜빌"), ("Moby-Dick", "Herman Melville"), 1851, 18_000, 3),
    _book("cloud", ("구운몽", "김만중"), ("The Nine Cloud Dream", "Kim Man-jung"), 1687, 13_000, 5),
    _book("pride", ("오만과 편견", "제인 오스틴"), ("Pride and Prejudice", "Jane Austen"), 1813, 13_500, 6),
    _book("gildong", ("홍길동전", "허균"), ("The Story of Hong Gildong", "Heo Gyun"), 1612, 9_000, 8),
)

#: The poem that the shop streams line by line: Kim Sowol, 1922; Emily Dickinson, 1873.
POEM = {
    "ko": ("엄마야 누나야 강변 살자", "뜰에는 반짝이는 금모래빛", "뒷문 밖에는 갈잎의 노래", "엄마야 누나야 강변 살자"),
    "en": (
        "There is no Frigate like a Book",
        "To take us Lands away,",
        "Nor any Coursers like a Page",
        "Of prancing Poetry –",
    ),
}


def find(words: str) -> list[Book]:
    """Return the books whose title or author contains `words`, in any language; all books if `words` is empty."""
    wanted = words.strip().casefold()
    return [book for book in BOOKS if wanted in _searched(book)]


def _searched(book: Book) -> str:
    return " ".join((*book.titles.values(), *book.authors.values())).casefold()
