"""What a file really is that is not what its name says."""

import re

_KINDS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"GGUF", "a GGUF file; give it a name that ends in .gguf and pass the file itself"),
    (b"PK\x03\x04", "a zip archive (PyTorch's .bin or NumPy's .npz); convert it to safetensors"),
    (b"\x93NUMPY", "a NumPy array; save the weights as safetensors"),
    (b"\x89HDF", "an HDF5 file (Keras); convert it to safetensors"),
    (b"\x1f\x8b", "gzip data; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "zstandard data; unpack it first"),
    (b"\xfd7zXZ", "xz data; unpack it first"),
    (b"BZh", "bzip2 data; unpack it first"),
)


# A table of merges may begin with "<" too.
_PAGE = re.compile(rb"\s*<(!|\?xml|html|head|body|error)", re.IGNORECASE)


def kind_of(head: bytes) -> str | None:
    """What a file beginning with `head` really is, where that is a known mistake."""
    for magic, kind in _KINDS:
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if _PAGE.match(head.removeprefix(b"\xef\xbb\xbf")):
        return "an HTML or XML page, perhaps a login page or an error page saved in the file's place; download it again"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle, which could run code when read; convert it to safetensors"
    return None
