"""BLAKE3 in plain Python, from its paper: plain hashing and derive_key, output of 32 bytes."""
import struct

IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
START, END, PARENT, ROOT, CONTEXT, MATERIAL = 1, 2, 4, 8, 32, 64
MASK = 0xFFFFFFFF


def compress(chain, block, counter, length, flags):
    s = chain + IV[:4] + [counter & MASK, counter >> 32, length, flags]
    m = list(block)
    for _ in range(7):
        for i, (a, b, c, d) in enumerate((
            (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
            (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
        )):
            for word, r1, r2 in ((m[2 * i], 16, 12), (m[2 * i + 1], 8, 7)):
                s[a] = (s[a] + s[b] + word) & MASK
                x = s[d] ^ s[a]
                s[d] = (x >> r1 | x << (32 - r1)) & MASK
                s[c] = (s[c] + s[d]) & MASK
                x = s[b] ^ s[c]
                s[b] = (x >> r2 | x << (32 - r2)) & MASK
        m = [m[i] for i in PERMUTATION]
    return [s[i] ^ s[i + 8] for i in range(8)]


def words(block):
    return struct.unpack("<16I", block.ljust(64, b"\0"))


def chunk(data, key, counter, flags, root):
    chain = key
    blocks = [data[i:i + 64] for i in range(0, len(data), 64)] or [b""]
    for i, block in enumerate(blocks):
        last = i == len(blocks) - 1
        f = flags | (START if i == 0 else 0) | (END if last else 0) | (ROOT if last and root else 0)
        chain = compress(chain, words(block), counter, len(block), f)
    return chain


def tree(data, key, counter, flags, root):
    if len(data) <= 1024:
        return chunk(data, key, counter, flags, root)
    left = 1024
    while left * 2 < len(data):
        left *= 2
    a = tree(data[:left], key, counter, flags, False)
    b = tree(data[left:], key, counter + left // 1024, flags, False)
    return compress(list(key), a + b, 0, 64, flags | PARENT | (ROOT if root else 0))


def blake3(data, context=None):
    if context is None:
        out = tree(data, IV, 0, 0, True)
    else:
        key = tree(context.encode(), IV, 0, CONTEXT, True)
        out = tree(data, key, 0, MATERIAL, True)
    return struct.pack("<8I", *out)
