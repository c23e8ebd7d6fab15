"""BLAKE3 in plain Python, from its paper: plain hashing, derive_key, output of any length.

Many compressions run at once: each 32-bit word of the state is one big integer that holds that word
of every compression in a lane of 64 bits. The upper half of a lane is room for carries.
"""
import sys
from array import array

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
MIXED = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
         (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
START, END, PARENT, ROOT, CONTEXT, MATERIAL = 1, 2, 4, 8, 32, 64
CHUNK = 1024
# A power of two of chunks: a whole subtree. As many lanes as stay in a processor's nearer cache.
BATCH = 512 * CHUNK
ONES = {}


def ones(lanes):
    """A number with 1 in each lane."""
    if lanes not in ONES:
        ONES[lanes] = sum(1 << 64 * i for i in range(lanes)) if lanes < 64 else (
            int.from_bytes(b"\1\0\0\0\0\0\0\0" * lanes, "little"))
    return ONES[lanes]


def compress(chain, block, counter, length, flags, lanes=1):
    """The compression function on every lane (`length` and `counter` too); returns all 16 words."""
    one = ones(lanes)
    mask = 0xFFFFFFFF * one
    low, high = counter & mask, counter >> 32 & mask
    s = list(chain) + [IV[0] * one, IV[1] * one, IV[2] * one, IV[3] * one, low, high, length, flags * one]
    m = block
    for _ in range(7):
        i = 0
        for a, b, c, d in MIXED:
            sa, sb, sc, sd = s[a], s[b], s[c], s[d]
            sa = (sa + sb + m[i]) & mask
            sd ^= sa
            sd = (sd >> 16 | sd << 16) & mask
            sc = (sc + sd) & mask
            sb ^= sc
            sb = (sb >> 12 | sb << 20) & mask
            sa = (sa + sb + m[i + 1]) & mask
            sd ^= sa
            sd = (sd >> 8 | sd << 24) & mask
            sc = (sc + sd) & mask
            sb ^= sc
            s[a], s[b], s[c], s[d] = sa, (sb >> 7 | sb << 25) & mask, sc, sd
            i += 2
        m = [m[j] for j in PERMUTATION]
    return [s[i] ^ s[i + 8] for i in range(8)] + [s[i + 8] ^ chain[i] for i in range(8)]


def load(words):
    """A lane for each element of an array of 32-bit words."""
    wide = array("Q", words)
    if sys.byteorder == "big":
        wide.byteswap()
    return int.from_bytes(wide.tobytes(), "little")


def store(number, lanes):
    """The lanes as an array."""
    wide = array("Q", number.to_bytes(8 * lanes, "little"))
    if sys.byteorder == "big":
        wide.byteswap()
    return wide


def words_of(data):
    out = array("I", data)
    if sys.byteorder == "big":
        out.byteswap()
    return out


class Node:
    """Inputs of a compression that may turn out to be the root."""

    def __init__(self, chain, block, counter, length, flags):
        self.inputs = chain, block, counter, length, flags

    def chain(self):
        return compress(*self.inputs)[:8]

    def root(self, size):
        chain, block, _, length, flags = self.inputs
        out, i = [], 0
        while 64 * i < size:
            out += compress(chain, block, i, length, flags | ROOT)
            i += 1
        return b"".join(w.to_bytes(4, "little") for w in out)[:size]


class Hasher:
    """Hashes a stream in bounded memory."""

    def __init__(self, context=None):
        self.key, self.flags = IV, 0
        if context is not None:
            inner = Hasher()
            inner.flags = CONTEXT
            key = inner.update(context.encode()).digest()
            self.key, self.flags = tuple(words_of(key)), MATERIAL
        self.buffer, self.counter, self.stack = bytearray(), 0, []

    def update(self, data):
        self.buffer += data
        while len(self.buffer) > BATCH:  # the last bytes stay: they may hold the root
            chains = self.whole_chunks(bytes(self.buffer[:BATCH]))
            while len(chains) > 1:
                chains = self.pair(chains)
            del self.buffer[:BATCH]
            self.push(chains[0])
        return self

    def push(self, chain):
        """Joins subtrees of equal size."""
        number = self.counter // (BATCH // CHUNK)
        while number & 1 == 0:
            chain = self.parent(self.stack.pop(), chain).chain()
            number >>= 1
        self.stack.append(chain)

    def parent(self, left, right):
        return Node(self.key, list(left) + list(right), 0, 64, self.flags | PARENT)

    def whole_chunks(self, data):
        """Chaining values of chunks of 1024 bytes, all lanes at once."""
        lanes, words = len(data) // CHUNK, words_of(data)
        one = ones(lanes)
        counter = int.from_bytes(
            b"".join((self.counter + i).to_bytes(8, "little") for i in range(lanes)), "little")
        self.counter += lanes
        chain = [k * one for k in self.key]
        for b in range(16):
            flags = self.flags | (START if b == 0 else 0) | (END if b == 15 else 0)
            block = [load(words[16 * b + j::256]) for j in range(16)]
            chain = compress(chain, block, counter, 64 * one, flags, lanes)[:8]
        return list(zip(*(store(c, lanes) for c in chain)))

    def pair(self, chains):
        """One level of the tree; a last one without a partner goes up as it is."""
        lanes = len(chains) // 2
        block = [load([c[i] for c in chains[side:2 * lanes:2]]) for side in (0, 1) for i in range(8)]
        key = [k * ones(lanes) for k in self.key]
        above = compress(key, block, 0, 64 * ones(lanes), self.flags | PARENT, lanes)[:8]
        return list(zip(*(store(c, lanes) for c in above))) + chains[2 * lanes:]

    def last_chunk(self, data):
        chain, blocks = list(self.key), max(1, (len(data) + 63) // 64)
        for i in range(blocks):
            part = data[64 * i:64 * i + 64]
            flags = self.flags | (START if i == 0 else 0) | (END if i == blocks - 1 else 0)
            node = Node(chain, words_of(part.ljust(64, b"\0")), self.counter, len(part), flags)
            if i < blocks - 1:
                chain = node.chain()
        return node

    def digest(self, size=32):
        """Ends the stream."""
        data = bytes(self.buffer)
        cut = max(0, (len(data) - 1) // CHUNK * CHUNK)
        chains = self.whole_chunks(data[:cut]) if cut else []
        node = self.last_chunk(data[cut:])
        # The right edge of the tree: subtrees of falling size to the left of the last chunk.
        while chains:
            size_left = 1 << (len(chains).bit_length() - 1)
            left, chains = chains[:size_left], chains[size_left:]
            while len(left) > 1:
                left = self.pair(left)
            self.stack.append(left[0])
        while self.stack:
            node = self.parent(self.stack.pop(), node.chain())
        return node.root(size)


def blake3(data, context=None, size=32):
    return Hasher(context).update(data).digest(size)


def blake3_each(messages):
    """Plain hashes of many messages, those of at most 64 bytes all at once."""
    short = [m for m in messages if len(m) <= 64]
    if len(short) < 4:
        return [blake3(m) for m in messages]
    lanes = len(short)
    words = words_of(b"".join(m.ljust(64, b"\0") for m in short))
    block = [load(words[i::16]) for i in range(16)]
    chain = [k * ones(lanes) for k in IV]
    out = compress(chain, block, 0, load([len(m) for m in short]), START | END | ROOT, lanes)[:8]
    done = iter(zip(*(store(w, lanes) for w in out)))
    return [b"".join(w.to_bytes(4, "little") for w in next(done)) if len(m) <= 64 else blake3(m)
            for m in messages]
