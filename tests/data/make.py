"""Makes the data files of this folder, and computes what tests/dataset/ and
src/data/subset.rs expect by another implementation. Run in this folder; needs numpy (the
.safetensors file is written by hand).
"""

import json
import struct

import numpy as np


def mask(x):
    return x & (2**64 - 1)


class Xoshiro256PlusPlus:
    """https://prng.di.unimi.it/xoshiro256plusplus.c, seeded by SplitMix64."""

    def __init__(self, seed):
        self.s = []
        for _ in range(4):
            seed = mask(seed + 0x9E3779B97F4A7C15)
            z = seed
            z = mask((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9)
            z = mask((z ^ (z >> 27)) * 0x94D049BB133111EB)
            self.s.append(z ^ (z >> 31))

    def next(self):
        def rotl(x, k):
            return mask(x << k) | (x >> (64 - k))

        s = self.s
        result = mask(rotl(mask(s[0] + s[3]), 23) + s[0])
        t = mask(s[1] << 17)
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 45)
        return result


def subset(n, limit, seed):
    """Floyd's sample of `limit` of range(n), by Lemire's bounded integers."""
    generator = Xoshiro256PlusPlus(seed)

    def below(bound):
        while True:
            high, low = divmod(generator.next() * bound, 2**64)
            if low >= 2**64 % bound:
                return high

    chosen = set()
    for last in range(n - limit, n):
        index = below(last + 1)
        chosen.add(last if index in chosen else index)
    return sorted(chosen)


def safetensors(path, arrays):
    header, data = {}, b""
    for name, (dtype, shape, content) in arrays.items():
        header[name] = dict(dtype=dtype, shape=shape, data_offsets=[len(data), len(data) + len(content)])
        data += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    # x[i, j, k] = 100 i + 10 j + k, so that a test can tell every element's place.
    i, j, k = np.indices((3, 2, 2))
    x = 100 * i + 10 * j + k
    labels = np.array([2, 0, 1])
    np.savez("images.npz", image=x.astype("u1"), labels=labels.astype("u1"), names=np.array(["a", "bc", "d"]),
             meta=np.array([{"made": 1}, None], dtype=object))
    np.savez_compressed(
        "kinds.npz",
        f2=x.astype("<f2"),
        f4=x.astype("<f4"),
        f8=x.astype("<f8"),
        big=x.astype(">f4"),
        fortran=np.asfortranarray(x.astype("<f4")),
        i4=x.astype("<i4"),
        i8=x.astype("<i8"),
        b1=x % 2 == 1,
        labels=labels.astype(">i2"),
    )
    np.savez("fortran.npz", x=np.asfortranarray(x.astype(">f8")), labels=labels.astype("<u8"))
    bf16 = (x.astype("<f4").view("<u4") >> 16).astype("<u2")
    safetensors(
        "kinds.safetensors",
        {
            "labels": ("I64", [3], labels.astype("<i8").tobytes()),
            "bf16": ("BF16", [3, 2, 2], bf16.tobytes()),
            "u8": ("U8", [3, 2, 2], x.astype("u1").tobytes()),
        },
    )
    print("subset(100, 8, 0) =", subset(100, 8, 0))
    print("subset(60000, 6, 2**64 - 1) =", subset(60000, 6, 2**64 - 1))
    print("subset(3, 2, 1) =", subset(3, 2, 1))
