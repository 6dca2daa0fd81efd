"""Text that looks alike but differs: composed and decomposed letters, invisible characters, different blanks."""

from __future__ import annotations

import re
import unicodedata

# Unicode's Default_Ignorable_Code_Point (zero width, soft hyphen, bidi marks, variation selectors, byte order mark),
# the annotation marks beside it, and Braille's blank.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
BLANKS = re.compile("[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
MAX_CHARACTERS = 1_000
# Scripts with letters that readers mistake for Latin ones.
MIXED = {"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"}


def folded(text: str) -> str:
    """Return the text in its form for comparison: in NFC, without invisible characters and surrounding blanks.

    A text longer than any name or code is returned unchanged, because normalizing combining marks takes quadratic time.
    """
    if len(text) > MAX_CHARACTERS:
        return text
    visible = INVISIBLE.sub("", unicodedata.normalize("NFC", text))
    return unicodedata.normalize("NFC", BLANKS.sub(" ", visible).strip())


def written_out(code: str) -> str:
    """Return the code in ASCII escapes if it can look like another code, otherwise an empty string."""
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in code if letter.isalpha()}
    is_plain = folded(code) == code and not ("LATIN" in scripts and scripts & MIXED)
    return "" if is_plain else code.encode("ascii", "backslashreplace").decode().replace(" ", r"\x20")
