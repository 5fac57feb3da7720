"""The protocols by name. Each says what is read, what is scored, and which published figure it stands beside."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from arrayformer.core.errors import InputError
from arrayformer.evaluate import lambada, wikitext
from arrayformer.evaluate.paper import Published
from arrayformer.evaluate.source import Hub, Source, Text
from arrayformer.evaluate.windows import Window, check_stride, every_id, plain
from arrayformer.evaluate.words import Passage
from arrayformer.tokenizer import Tokenizer

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Task:
    """A protocol applied to a text, for one tokenizer and one context.

    items      windows, or passages
    n_tokens   ids the text has
    n_words    what a loss per word is divided by; None where that is not defined
    n_bytes    what bits per byte are divided by; None where that is not defined
    notes      what a reader of the figure should know
    """

    items: Sequence[Window] | Sequence[Passage]
    n_tokens: int
    n_words: int | None = None
    n_bytes: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Protocol:
    """A way of measuring that has a name.

    name       what --protocol says
    title      one line
    how        what is read and what is scored, so that somebody else could write it again
    measure    which figure is the protocol's: token_perplexity, word_perplexity, accuracy or bits_per_byte
    source     where the text comes from
    prepare    (text, tokenizer, n_ctx, stride) -> Task
    stride     the stride for a given context
    column     the column of the paper's Table 3 it stands beside
    published  what others got with this recipe, or near it
    known      whether anybody is known to have come out near the paper with this recipe
    """

    name: str
    title: str
    how: str
    measure: str
    source: Source
    prepare: Callable[[Text, Tokenizer, int, int], Task]
    stride: Callable[[int], int] = lambda n_ctx: n_ctx
    column: str | None = None
    published: tuple[Published, ...] = field(default=())
    known: bool = False


def end_of_text(tokenizer: Tokenizer) -> int:
    """The id that says a text begins. Raises InputError where the tokenizer has none."""
    if tokenizer.eos_id is None:
        raise InputError(f"this tokenizer has no {END_OF_TEXT}, which the first token of a text is conditioned on")
    return tokenizer.eos_id


def whole_text(text: Text, tokenizer: Tokenizer, n_ctx: int, stride: int) -> Task:
    """Every byte counted, the first token after end-of-text; end-of-text marks in the file are one id each."""
    eos = end_of_text(tokenizer)
    ids = tokenizer.encode(text.text, allowed_special=[END_OF_TEXT])
    marks = ids.count(eos)
    notes = (f"{marks} {END_OF_TEXT} in the file are read as one id each; their bytes are counted",) if marks else ()
    windows = list(every_id(ids, eos, n_ctx, check_stride(stride, n_ctx)))
    return Task(windows, len(ids), len(text.text.split()), text.n_bytes, notes)


def wikitext2(text: Text, tokenizer: Tokenizer, n_ctx: int, stride: int) -> Task:
    """The rows joined by two line ends, in windows with nothing before them."""
    ids = tokenizer.encode(wikitext.joined(text.text))
    windows = list(plain(ids, n_ctx, check_stride(stride, n_ctx)))
    unscored = len(ids) - sum(w.n_scored for w in windows)
    return Task(windows, len(ids), notes=(f"{unscored:,} of {len(ids):,} tokens begin a window and are not scored",))


def wikitext103(text: Text, tokenizer: Tokenizer, n_ctx: int, stride: int) -> Task:
    """Each article detokenized and read on its own; the loss is divided by the words of the text as it was."""
    eos = end_of_text(tokenizer)
    pages = wikitext.pages(text.text)
    encoded = [tokenizer.encode(wikitext.detokenize(page)) for page in pages]
    windows = [w for ids in encoded for w in every_id(ids, eos, n_ctx, check_stride(stride, n_ctx))]
    share = wikitext.share_invertible(pages)
    notes = (f"{share:.1%} of the lines come back exactly from the detokenizer, which is this project's own",)
    n_bytes = sum(len(page.encode()) for page in pages)
    return Task(windows, sum(map(len, encoded)), sum(map(wikitext.count_words, pages)), n_bytes, notes)


def lambada_token(text: Text, tokenizer: Tokenizer, n_ctx: int, stride: int) -> Task:
    """The last token of each passage, given all before it."""
    encoded = [tokenizer.encode(passage)[-n_ctx - 1 :] for passage in lambada.passages(text.text)]
    windows = [Window(tuple(ids), len(ids) - 1) for ids in encoded if len(ids) > 1]
    return Task(windows, sum(map(len, encoded)))


def lambada_word(text: Text, tokenizer: Tokenizer, n_ctx: int, stride: int) -> Task:
    """The last word of each passage, given all before it."""
    items = []
    for passage in lambada.passages(text.text):
        before, word = lambada.split_last_word(passage)
        items.append(Passage(tuple(tokenizer.encode(before)[-n_ctx + 3 :]), word))
    return Task(items, sum(len(item.ids) for item in items))


WIKI_TEST = Source(
    "wiki.test.raw of WikiText-2 (WikiText-103 has the same test text)",
    "get wikitext-2-raw-v1.zip from https://huggingface.co/datasets/ggml-org/ci "
    "and pass --data with it or with its wiki.test.raw",
    1_290_590, "sha256:173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08",
    "wikitext-2-raw/wiki.test.raw",
    Hub("ggml-org/ci", "927b3642933080f1b0e811e2f916e14c292992f9", "wikitext-2-raw-v1.zip"),
)  # fmt: skip
LAMBADA_TEST = Source(
    "lambada_test.jsonl as OpenAI published it",
    "get https://openaipublic.blob.core.windows.net/gpt-2/data/lambada_test.jsonl and pass --data with it",
    1_819_752, "sha256:4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226",
    hub=Hub("EleutherAI/lambada_openai", "900124bf3b8235c6daf21033af9948b3f07346c4", "data/lambada_test_en.jsonl"),
)  # fmt: skip
TEXT8 = Source(
    "text8", "get http://mattmahoney.net/dc/text8.zip and pass --data with it or with the text8 in it",
    100_000_000, "md5:3bea1919949baf155f99411df5fada7e", "text8", last=5_000_000,
)  # fmt: skip
ENWIK8 = Source(
    "enwik8", "get http://mattmahoney.net/dc/enwik8.zip and pass --data with it or with the enwik8 in it",
    100_000_000, "md5:a1fa5ffddb56f4953e226637dabbb36a", "enwik8", last=5_000_000,
)  # fmt: skip
ANY_TEXT = Source("a text", "pass --data with a file of UTF-8 text")

_ROLLING = "The first token is conditioned on end-of-text, every token is scored once"

PROTOCOLS = {
    p.name: p
    for p in (
        Protocol(
            "text", "any text file, bits per byte",
            f"The whole file in windows of the context, with a stride of half of it. {_ROLLING}, "
            f"and all bytes of the file are counted. `{END_OF_TEXT}` in the file is one id.",
            "bits_per_byte", ANY_TEXT, whole_text, stride=lambda n_ctx: max(1, n_ctx // 2),
        ),
        Protocol(
            "wikitext2-raw", "WikiText-2 raw, stride 1024, perplexity per BPE token",
            "The test rows joined by two line ends, in windows of the context with an equal stride and nothing before "
            "them: a window's first token is not scored. The loss is divided by the tokens that are.",
            "token_perplexity", WIKI_TEST, wikitext2, column="wikitext2", known=True,
            published=(
                Published("29.94", "124M", "", "huggingface/transformers#13761"),
                Published("29.17", "124M", "context 1024", "huggingface/transformers#483"),
                Published("19.44", "774M", "", "https://huggingface.co/docs/transformers/perplexity"),
            ),
        ),
        Protocol(
            "wikitext103", "WikiText-103 detokenized, perplexity per original word",
            "Each article of the test set detokenized and read on its own, in windows of the context, the last one "
            f"moved back to be full. {_ROLLING}. The loss is divided by the words before detokenization.",
            "word_perplexity", WIKI_TEST, wikitext103, column="wikitext103", known=True,
            published=(
                Published("37.37", "124M", "lm-eval's task and detokenizer", "huggingface/transformers#13761"),
            ),
        ),
        Protocol(
            "lambada-token", "LAMBADA, accuracy on the last BPE token",
            "OpenAI's lambada_test.jsonl. The last token of each passage, given all before it, is a hit where it is "
            "the likeliest. It is often only the end of the last word, which makes this easier than the word.",
            "accuracy", LAMBADA_TEST, lambada_token, column="lambada_acc", known=True,
            published=(
                Published("46.67", "124M", "", "huggingface/transformers#13761"),
                Published("46.89", "124M", "quotes replaced, a line end before each passage", "cybertronai/bflm"),
            ),
        ),
        Protocol(
            "lambada-word", "LAMBADA, accuracy on the last word, stop words left out",
            "OpenAI's lambada_test.jsonl. After all but the last word the model writes three tokens, each the "
            "likeliest that is not a stop word; the first word of them is a hit where it equals the last word.",
            "accuracy", LAMBADA_TEST, lambada_word, column="lambada_acc",
            published=(
                Published("41.98", "124M", "another list of stop words", "cybertronai/bflm eval_lambada_slow.py"),
            ),
        ),
        Protocol(
            "text8", "text8, bits per character",
            f"The last 5,000,000 bytes of text8, in windows of the context with an equal stride. {_ROLLING}.",
            "bits_per_byte", TEXT8, whole_text, column="text8",
            published=(Published("2.29", "124M", "", "huggingface/transformers#13786"),),
        ),
        Protocol(
            "enwik8", "enwik8, bits per byte",
            f"The last 5,000,000 bytes of enwik8, in windows of the context with an equal stride. {_ROLLING}.",
            "bits_per_byte", ENWIK8, whole_text, column="enwik8",
            published=(Published("2.23", "124M", "", "huggingface/transformers#13786"),),
        ),
    )
}  # fmt: skip


def find_protocol(name: str) -> Protocol:
    """The protocol called `name`. Raises InputError, naming those there are."""
    if name not in PROTOCOLS:
        raise InputError(f"no protocol named {name!r}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
