#!/usr/bin/env python3
"""Add up what the jobs of darts.sub or darts-py.sub found, and say how good it is.

Run it where the outputs are, when "skua wait" has returned:  ./reduce.py darts.*.out
"""
import math
import sys


def main():
    hits = throws = 0
    for name in sys.argv[1:]:
        with open(name) as f:
            words = f.read().split()
        if len(words) != 4 or words[0] != "hits":
            sys.exit(f"reduce.py: {name} is not a result of darts")
        hits += int(words[1])
        throws += int(words[3])
    if throws == 0:
        sys.exit("usage: reduce.py darts.*.out")
    p = hits / throws
    print(f"pi = {4 * p:.6f} +- {4 * math.sqrt(p * (1 - p) / throws):.6f} from {throws} darts of {len(sys.argv) - 1} jobs")


if __name__ == "__main__":
    main()
