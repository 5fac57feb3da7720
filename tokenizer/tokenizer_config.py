"""What lies beside a table of tokens in Hugging Face's form: which tokens are special, what goes around a text.

`tokenizer_config.json` says most. `special_tokens_map.json` and `added_tokens.json` are older and say parts of it.
"""

from dataclasses import dataclass
from typing import Any

from arrayformer.core.errors import TokenizerError
from arrayformer.core.files import strict_json
from arrayformer.core.files.untrusted import ModelDirectory, shown
from arrayformer.tokenizer import table
from arrayformer.tokenizer.added import AddedToken
from arrayformer.tokenizer.tokenizer_json import added_token

CONFIG = "tokenizer_config.json"
_MAP, _ADDED = "special_tokens_map.json", "added_tokens.json"
FILES = (CONFIG, _MAP, _ADDED, "chat_template.jinja")
"""Every file beside the tables that says something of a tokenizer."""

_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
_MORE = ("additional_special_tokens", "extra_special_tokens")


@dataclass(frozen=True)
class TokenizerConfig:
    """What these files say, None where they do not.

    added             the added tokens, by text
    special           texts of tokens that are called special
    roles             "bos_token" -> its text
    add_prefix_space  whether a space goes before a text that has none
    add_bos, add_eos  whether bos goes before, eos after every text
    kind              the class that transformers has for it, "GPT2Tokenizer"
    chat_template     the template of a conversation
    """

    added: dict[str, AddedToken]
    special: frozenset[str]
    roles: dict[str, str]
    add_prefix_space: bool | None
    add_bos: bool | None
    add_eos: bool | None
    kind: str | None
    chat_template: str | None


def read_config(directory: ModelDirectory) -> TokenizerConfig:
    """Read what of these files is there. Raises TokenizerError where one is broken, or two contradict each other."""
    config, older = _object(directory, CONFIG), _object(directory, _MAP)
    try:
        roles, special = _roles(config)
    except TokenizerError as error:
        raise TokenizerError(f"{directory / CONFIG}: {error}") from None
    try:
        older_roles, older_special = _roles(older)
    except TokenizerError as error:
        raise TokenizerError(f"{directory / _MAP}: {error}") from None
    for role in roles.keys() & older_roles.keys():
        if roles[role] != older_roles[role]:
            raise TokenizerError(
                f"{directory}: {role} is {roles[role][:60]!r} in {CONFIG} and {older_roles[role][:60]!r} in {_MAP}; "
                "take both from one model"
            )
    roles, special = {**older_roles, **roles}, special | older_special
    kind = config.get("tokenizer_class")
    prefix, add_bos, add_eos = (
        _flag(directory, config, key) for key in ("add_prefix_space", "add_bos_token", "add_eos_token")
    )
    return TokenizerConfig(
        _added(directory, config, special), special, roles, prefix, add_bos, add_eos,
        kind if isinstance(kind, str) else None, _chat_template(directory, config),
    )  # fmt: skip


def _object(directory: ModelDirectory, name: str) -> dict[str, Any]:
    if not directory.has(name):
        return {}
    return strict_json.read_object(directory, name, table.MAX_TABLE, TokenizerError)


def _flag(directory: ModelDirectory, config: dict[str, Any], key: str) -> bool | None:
    value = config.get(key)
    if value is not None and not isinstance(value, bool):
        raise TokenizerError(f"{directory / CONFIG}: {key} is {shown(value, 60)}; true or false is needed")
    return value


def _roles(content: dict[str, Any]) -> tuple[dict[str, str], frozenset[str]]:
    """The tokens that have a role, and all that are called special."""
    roles = {role: _text(role, content[role]) for role in _ROLES if content.get(role) is not None}
    special = set(roles.values())
    for key in _MORE:
        entries = content.get(key) or []
        values = entries.values() if isinstance(entries, dict) else entries if isinstance(entries, list) else [entries]
        special |= {_text(key, value) for value in values}
    return roles, frozenset(special)


def _text(role: str, value: object) -> str:
    text = value.get("content") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise TokenizerError(f"{role} is {shown(value, 60)}; a token is needed")
    return text


def _added(directory: ModelDirectory, config: dict[str, Any], special: frozenset[str]) -> dict[str, AddedToken]:
    entries = config.get("added_tokens_decoder") or {}
    added: dict[str, AddedToken] = {}
    try:
        if not isinstance(entries, dict):
            raise TokenizerError(f"added_tokens_decoder is {shown(entries, 60)}; an object is needed")
        for id, entry in entries.items():
            token = added_token(entry, int(id) if id.isascii() and id.isdigit() and len(id) < 10 else id)
            added[token.content] = token
    except TokenizerError as error:
        raise TokenizerError(f"{directory / CONFIG}: {error}") from None
    for text, id in _object(directory, _ADDED).items():
        token = added_token({"content": text, "special": text in special}, id)
        if added.setdefault(text, token).id != token.id:
            raise TokenizerError(
                f"{directory}: the token {text[:60]!r} has the id {added[text].id} in {CONFIG} and {token.id} in "
                f"{_ADDED}; take both from one model"
            )
    return added


def _chat_template(directory: ModelDirectory, config: dict[str, Any]) -> str | None:
    if directory.has("chat_template.jinja"):  # where transformers writes it since 4.51
        return directory.read_text("chat_template.jinja", table.MAX_TEMPLATE, TokenizerError)
    template = config.get("chat_template")
    if isinstance(template, list):  # several of them, each with a name
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    if template is not None and not isinstance(template, str):
        raise TokenizerError(f"{directory / CONFIG}: chat_template is {shown(template, 60)}; a text is needed")
    return template
