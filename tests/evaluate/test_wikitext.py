import pytest

from arrayformer.evaluate import wikitext

RAW = (
    " \n"
    " = The Heron = \n"
    " \n"
    ' The heron ( Ardea <unk> ) is 1 @,@ 000 m from here , and 3 @.@ 5 kg : " a well @-@ known bird " , he said . \n'
    " It 's the birds ' nest ; the bird 's own ! \n"
    " \n"
    " = = Range = = \n"
    " \n"
    " From $ 5 to £ 6 [ note ] , 20 % more . \n"
    " \n"
    " = A = \n"
    " Short page . \n"
)


@pytest.mark.parametrize(
    ("published", "english"),
    [
        (" in 1 @,@ 000 , he \n", "in 1,000, he\n"),
        (" 3 @.@ 5 kg \n", "3.5 kg\n"),
        (" a well @-@ known bird . \n", "a well-known bird.\n"),
        (' " a bird " , he said . \n', '"a bird", he said.\n'),
        (" ( like this ) . \n", "(like this).\n"),
        (" the bird 's nest ; the birds ' nests \n", "the bird's nest; the birds' nests\n"),
        (" = = Range = = \n", "== Range ==\n"),
        (" \n", "\n"),
        (" 20 % of $ 5 \n", "20% of $5\n"),
    ],
)
def test_published_text_becomes_english_and_comes_back(published: str, english: str) -> None:
    assert wikitext.detokenize(published).rstrip("\n") == english.rstrip("\n")
    assert wikitext.tokenize(wikitext.detokenize(published.rstrip("\n"))) == published.rstrip("\n")


def test_articles_begin_at_titles_and_not_at_sections() -> None:
    pages = wikitext.pages(RAW)

    assert [page.split("\n")[0] for page in pages] == [" = The Heron = ", " = A = "]
    assert " = = Range = = " in pages[0]


def test_words_are_counted_before_detokenizing_and_with_the_empty_ends() -> None:
    assert wikitext.count_words(" a b , c \n") == 6


def test_blank_rows_are_empty_and_others_keep_their_line_end() -> None:
    assert wikitext.rows(" \n = A = \n \n x \n") == ["", " = A = \n", "", " x \n"]
    assert wikitext.joined(" \n x \n") == "\n\n x \n"


def test_the_share_of_lines_that_come_back_is_counted() -> None:
    assert wikitext.share_invertible(wikitext.pages(RAW)) == 1.0
    assert wikitext.share_invertible([" a . \n an odd -thing- 's"]) < 1.0
