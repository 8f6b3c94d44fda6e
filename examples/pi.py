#!/usr/bin/env python3
"""Estimate pi by throwing darts, for about a minute.

The result depends on the seed and the number of steps alone, so two runs can be compared byte by byte,
however often one of them was frozen, checkpointed and moved on its way.

With --journal FILE every step appends a line "NONCE STEP" to FILE. The nonce is drawn once, when the
program starts: a program that was started again instead of going on shows a second nonce, or a
step twice.
"""
import argparse
import os


def darts(state, n):
    """Throw n darts; give how many hit the quarter circle, and the generator's next state.

    The generator is a plain 64-bit linear congruential one, so that the result is the same with every
    version of Python.
    """
    hits = 0
    for _ in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        x = (state >> 33) / 2147483648.0
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        y = (state >> 33) / 2147483648.0
        if x * x + y * y < 1.0:
            hits += 1
    return hits, state


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--seed", type=int, default=1, help="where the darts begin (default 1)")
    args.add_argument("--steps", type=int, default=1200, help="how long to go on (default 1200, about a minute)")
    args.add_argument("--darts", type=int, default=200_000, help="darts of a step (default 200000)")
    args.add_argument("--journal", metavar="FILE", help="append a line to FILE at every step")
    args = args.parse_args()

    nonce = os.urandom(8).hex()
    state, hits, thrown = args.seed, 0, 0
    for step in range(1, args.steps + 1):
        n, state = darts(state, args.darts)
        hits += n
        thrown += args.darts
        if args.journal:
            with open(args.journal, "a") as journal:
                journal.write(f"{nonce} {step}\n")
        if step % max(1, args.steps // 20) == 0:
            print(f"step {step} of {args.steps}: pi is about {4 * hits / thrown:.8f}", flush=True)
    print(f"pi = {4 * hits / thrown:.10f} after {thrown} darts")


if __name__ == "__main__":
    main()
