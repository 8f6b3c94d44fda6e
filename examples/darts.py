#!/usr/bin/env python3
"""Throw darts at a square and count those that hit the quarter circle in it. Usage: darts.py SEED THROWS

Prints one line, "hits H of N", which reduce.py adds up, as darts.c does.
"""
import random
import sys


def main():
    seed, throws = int(sys.argv[1]), int(sys.argv[2])
    draw = random.Random(seed).random
    hits = sum(draw() ** 2 + draw() ** 2 < 1 for _ in range(throws))
    print(f"hits {hits} of {throws}")


if __name__ == "__main__":
    main()
