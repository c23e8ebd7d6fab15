"""path: names that no tree may hold, and names that are hard to live with and are kept all the same."""
from itertools import product

from .collect import Folder

OWN = (".mv", "mv~1", ".git", "git~1")
# One of each range of TREE-2, and all 16 that HFS+ ignores.
IGNORED = [0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180E, 0x180F, 0x200B, *range(0x200C, 0x2010),
           *range(0x202A, 0x202F), 0x2060, 0x2064, 0x2065, *range(0x206A, 0x2070), 0x3164, 0xFE00, 0xFE0F, 0xFEFF, 0xFFA0,
           0xFFF0, 0xFFF8, 0x1BCA0, 0x1BCA3, 0x1D173, 0x1D17A, 0xE0000, 0xE0001, 0xE007F, 0xE0100, 0xE0FFF]
STREAMS = (".", " ", "..", ". .", ":", "::$INDEX_ALLOCATION", "::$DATA", " :x", "...:x", ":x:y")

# Paths by the rule they break.
BROKEN = {
    "TREE-2": ["", ".", "..", "/", "//", "/a", "a/", "a//b", "./a", "a/.", "../a", "a/..", "a/../b", "a/../../b", "a/./b",
               "../../../../etc/passwd", "/etc/passwd", "\0", "a\0", "\0a", "a\0b", "a/\0/b", ".\0", "..\0", "x" * 256,
               "\u00e9" * 128, "d/" + "x" * 256, ".mv/oplog", ".mv/packs/x", "a/.mv", "a/b/.Mv/c", ".git/config",
               ".git/hooks/post-checkout", "a/.git/hooks/pre-commit", ".GIT/config", "a/git~1/config", ".git./config",
               ".git /config", ".git:x/config", ".g\u200cit/config"],
    "TREE-7": ["a/" * 128 + "a", "a/" * 2047 + "a", "/".join(["x" * 255] * 16) + "/x"],
}
KEPT = [
    # Devices of Windows, streams, drives, separators, what it drops or forbids.
    *"CON PRN AUX NUL nul con.txt aux.c COM0 COM1 COM9 LPT1 LPT9.log CONIN$ CONOUT$ CLOCK$ COM\u00b9 LPT\u00b3 nul: a:b "
    "C: C:x c:\\x \u00c9:x a\\b ..\\a .\\a \\ \\\\server\\share a. a.. ... .... ..a a*b a?b a|b <a> \"a\" $MFT "
    "desktop.ini Thumbs.db PROGRA~1 A~1 mv~2 mv~10 git~2 GI7EBA~1 xmv~1 git mv .mvx .gitx ..mv ..git .mv~1 :.mv :.git "
    ".gitignore2 .gitmodules .gitattributes .mailmap lost+found @eaDir ~ ~root -rf --help - -- ; & # ! %00 %2e%2e "
    "%2e%2e%2f $HOME ${x} $(touch\u00a0x) `x` ' {a,b} [a] a=b + , ^ = x.swp .nfs0001".split(),
    "a b", " a", "a ", " ", "  ", ".mv a", " .mv", ". mv", "a\u00a0b", "a ;rm -rf .",
    # Control characters, and what a terminal does with them.
    "a\nb", "\n", "\r", "a\r\n", "\t", "\x01", "\x1b[31m", "\x1b]0;t\x07", "\x7f", "\x08\x08", "\u0085", "\u2028", "\u2029",
    # Letters that look alike, fold, compose, turn around, or are not there.
    "A", "a", "\u00e9", "e\u0301", "\u00df", "ss", "SS", "\u017f", "\u212a", "K", "k", "\u0130", "\u0131", "\ufb01", "fi",
    "\u202egpj.exe", "\u200b", "\ufeff", "\u00ad", "\u2060", "\uff0e\uff0e", "\u2024\u2024", "\u2025", "\u2215", "\uff0f",
    "\uff0emv", "\uff0egit", ".\uff27it", ".g\u0131t", ".g\u0130t", ".\u043cv", "\U0001f600", "\U0010ffff", "\uffff",
    "x" * 255, "a/b/c", "a/" * 127 + "a", "/".join(["y" * 200] * 10),
    # No UTF-8: Latin-1, cut off, overlong `..` and `/`, a surrogate, above the last character.
    b"caf\xe9", b"\xff", b"\xff\xfe", b"\x80", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xc0\xae\xc0\xae", b"\xc0\xaf", b"\xe0\x80\xaf",
    b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b".mv\xff", b"\xff.git", b".g\x80it", b"\xc0\xaemv",
]


def cased(name):
    return ["".join(letters) for letters in product(*(sorted({c, c.upper()}) for c in name))]


def paths():
    f = Folder("path")
    refused = [c for own in OWN for c in cased(own)] + [own + s for own in OWN for s in STREAMS]
    for c in map(chr, IGNORED):
        refused += [".g%sit" % c, "%s.mv" % c, "mv~1" + c]
    refused += ["\u200c.\u200dM\u200eV\u200f", ".gi\ufe0ft. ", "G\u2060IT~1::$DATA", ".mv\u00ad:x", "\U000e0020.GiT .", "a/.m\u034fv/b"]
    for rule, broken in (("TREE-2", refused + BROKEN["TREE-2"]), ("TREE-7", BROKEN["TREE-7"])):
        for n, path in enumerate(broken):
            f.hostile("refused-%s-%03d" % (rule.lower(), n), "path", rule, path.encode())
    for n, path in enumerate(KEPT):
        data = path if isinstance(path, bytes) else path.encode()
        f.valid("kept-%03d" % n, "path", {"names": data.count(b"/") + 1}, bytes=[data.hex()])
    return f
