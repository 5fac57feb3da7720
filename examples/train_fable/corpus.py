"""Text to training windows: the tokenizer, the ids on disk, and the order in which they are read."""

import json
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END_OF_TEXT = "<|endoftext|>"
TOKENIZER_FILES = ("vocab.json", "merges.txt")


@dataclass(frozen=True)
class Corpus:
    """A text as ids.

    train          [n] uint16, END_OF_TEXT before each document; a memory map
    valid          [n] uint16, the whole file as it is
    bytes_of       [n_vocab] int64, how many bytes of text an id stands for
    valid_bytes    size of the validation text
    eos            the id of END_OF_TEXT, the last one
    """

    train: np.ndarray
    valid: np.ndarray
    bytes_of: np.ndarray
    valid_bytes: int
    eos: int

    @property
    def n_vocab(self) -> int:
        """How many ids there are."""
        return len(self.bytes_of)


def read_text(folder: Path, name: str) -> str:
    """`name`.txt or `name`.txt.xz in `folder`. Raises FileNotFoundError where neither is there."""
    plain, packed = folder / f"{name}.txt", folder / f"{name}.txt.xz"
    if plain.exists():
        return plain.read_text(encoding="utf-8")
    if packed.exists():
        return lzma.decompress(packed.read_bytes()).decode("utf-8")
    raise FileNotFoundError(f"{folder} has neither {plain.name} nor {packed.name}")


def documents(text: str) -> list[str]:
    """The texts between the END_OF_TEXT marks, without the blank lines around them."""
    return [document for part in text.split(END_OF_TEXT) if (document := part.strip("\n"))]


def train_tokenizer(texts: Sequence[str], n_vocab: int) -> Tokenizer:
    """A byte-level BPE over GPT-2's pieces: 256 bytes, merges, END_OF_TEXT last. A small text gives fewer ids."""
    tokenizer = Tokenizer(models.BPE())
    # use_regex splits by GPT-2's own pattern.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=n_vocab - 1, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """vocab.json (END_OF_TEXT among the others) and merges.txt, as GPT-2's tokenizers read them."""
    tokenizer.model.save(str(folder))
    vocab = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    (folder / "vocab.json").write_text(json.dumps(dict(vocab), ensure_ascii=False), encoding="utf-8")


def load_tokenizer(folder: Path) -> Tokenizer:
    """What `save_tokenizer` wrote."""
    tokenizer = Tokenizer(models.BPE.from_file(*(str(folder / name) for name in TOKENIZER_FILES)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer


def encode_documents(tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    """[n] uint16: each document with END_OF_TEXT before it."""
    eos = tokenizer.token_to_id(END_OF_TEXT)
    rows = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return np.concatenate([np.array([eos, *row.ids], dtype=np.uint16) for row in rows])


def prepare(folder: Path, out: Path, n_vocab: int) -> Corpus:
    """The corpus in `folder` as ids under `out`; what lies there already is taken as it is."""
    ids = out / "train.u16"
    if not ids.exists():
        texts = documents(read_text(folder, "train"))
        save_tokenizer(train_tokenizer(texts, n_vocab), out)
        # Written in full before it gets its name: a run that was cut short starts over.
        encode_documents(load_tokenizer(out), texts).tofile(out / "train.u16.part")
        (out / "train.u16.part").rename(ids)
    tokenizer = load_tokenizer(out)
    text = read_text(folder, "valid")
    bytes_of = token_bytes(tokenizer)
    return Corpus(
        train=np.memmap(ids, dtype=np.uint16, mode="r"),
        valid=np.array(tokenizer.encode(text).ids, dtype=np.uint16),
        bytes_of=bytes_of,
        valid_bytes=len(text.encode()),
        eos=len(bytes_of) - 1,
    )


def token_bytes(tokenizer: Tokenizer) -> np.ndarray:
    """[n_vocab] int64: the bytes of text each id stands for. In the table each byte is one character."""
    table = tokenizer.get_vocab(with_added_tokens=True)
    return np.array([len(token) for token in sorted(table, key=lambda token: table[token])], dtype=np.int64)


def batch(ids: np.ndarray, start: int, shape: tuple[int, int], chunk: int, seed: int) -> np.ndarray:
    """The windows that follow after `start` ids were read: where a run stands is one number.

    The text is cut into chunks; each epoch reads all of them in an order of its own.

    ids      [n] the whole text
    start    ids read before
    shape    (batch, window): windows and their length, which divides `chunk`
    returns  [batch, window + 1] int32, inputs and the id after each
    """
    rows, window = shape
    n_chunks = (len(ids) - 1) // chunk
    if n_chunks < 1:
        raise ValueError(f"the text has {len(ids)} ids; one chunk needs {chunk + 1}: take a shorter context")
    places, inside = np.divmod(start + window * np.arange(rows), chunk)
    epochs, places = np.divmod(places, n_chunks)
    orders = {int(e): np.random.default_rng([seed, int(e)]).permutation(n_chunks) for e in np.unique(epochs)}
    first = [orders[int(e)][p] * chunk + i for e, p, i in zip(epochs, places, inside, strict=True)]
    return np.stack([ids[at : at + window + 1] for at in first]).astype(np.int32)
