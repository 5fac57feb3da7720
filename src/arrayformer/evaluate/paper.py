"""Table 3 of the GPT-2 paper, and what is publicly known about reproducing it.

Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), Table 3: zero-shot results. OpenAI
never released the code behind it. The sizes carry the names OpenAI corrected later: the paper's 117M, 345M, 762M
and 1542M are 124M, 355M, 774M and 1558M.
"""

from dataclasses import dataclass

PAPER_NAMES = {"124M": "117M", "355M": "345M", "774M": "762M", "1558M": "1542M"}


@dataclass(frozen=True)
class Column:
    """One column of the table.

    title    as the paper has it
    measure  what its figures are
    figures  124M, 355M, 774M, 1558M
    """

    title: str
    measure: str
    figures: tuple[str, str, str, str]

    def figure(self, size: str) -> str:
        """The paper's figure for one of our sizes ("124M")."""
        return self.figures[list(PAPER_NAMES).index(size)]


TABLE_3 = {
    "lambada_ppl": Column("LAMBADA", "perplexity", ("35.13", "15.60", "10.87", "8.63")),
    "lambada_acc": Column("LAMBADA", "accuracy, %", ("45.99", "55.48", "60.12", "63.24")),
    "cbt_cn": Column("CBT-CN", "accuracy, %", ("87.65", "92.35", "93.45", "93.30")),
    "cbt_ne": Column("CBT-NE", "accuracy, %", ("83.4", "87.1", "88.0", "89.05")),
    "wikitext2": Column("WikiText2", "perplexity", ("29.41", "22.76", "19.93", "18.34")),
    "ptb": Column("PTB", "perplexity", ("65.85", "47.33", "40.31", "35.76")),
    "enwik8": Column("enwik8", "bits per byte", ("1.16", "1.01", "0.97", "0.93")),
    "text8": Column("text8", "bits per character", ("1.17", "1.06", "1.02", "0.98")),
    "wikitext103": Column("WikiText103", "perplexity", ("37.50", "26.37", "22.05", "17.48")),
    "1bw": Column("1BW", "perplexity", ("75.20", "55.72", "44.575", "42.16")),
}


@dataclass(frozen=True)
class Published:
    """What somebody else measured and wrote down where it can be read."""

    figure: str
    size: str
    how: str
    source: str


# Cells for which no public recipe is known to come out where the paper does, with the nearest that was written down.
ATTEMPTS = {
    "lambada_ppl": (
        Published("40.06", "124M", "lm-eval lambada_openai: last word", "EleutherAI/lm-evaluation-harness#2159"),
        Published("10.63", "1558M", "lm-eval lambada_openai: last word", "EleutherAI/lm-evaluation-harness#911"),
    ),
    "cbt_cn": (Published("84.35", "124M", "", "huggingface/transformers#13761"),),
    "cbt_ne": (Published("73.65", "124M", "", "huggingface/transformers#13761"),),
    "ptb": (
        Published("52.53", "124M", "per token", "huggingface/transformers#13786"),
        Published("79.65", "124M", "per word", "huggingface/transformers#13786"),
    ),
    "enwik8": (Published("2.23", "124M", "", "huggingface/transformers#13786"),),
    "text8": (Published("2.29", "124M", "", "huggingface/transformers#13786"),),
    "1bw": (),
}
