#!/usr/bin/env python3
"""Sum a long series, and save the state when asked to leave.

For machines that cannot checkpoint a running program. On SIGTERM the program writes where it is to
state.json and ends with exit code 85, which the job description announces as "I am not finished, start
me again". Started again, here or on another machine, it finds state.json and goes on.
"""
import argparse
import json
import os
import signal
import sys

STATE = "state.json"
SAVED = 85

leaving = False


def leave(signum, frame):
    global leaving
    leaving = True  # the loop below comes to a good point first


def save(state):
    """Write the state so that there is always a whole one."""
    with open(STATE + ".new", "w") as f:
        json.dump(state, f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(STATE + ".new", STATE)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--steps", type=int, default=2000, help="how long to go on (default 2000, about a minute)")
    args.add_argument("--journal", metavar="FILE", help='append a line "NONCE STEP" to FILE at every step')
    args = args.parse_args()
    signal.signal(signal.SIGTERM, leave)

    # The nonce is part of the state: who goes on from it keeps it, who begins again draws a new one.
    state = {"nonce": os.urandom(8).hex(), "step": 0, "sum": 0.0, "next": 1}
    if os.path.exists(STATE):
        with open(STATE) as f:
            state = json.load(f)
        print(f"going on after step {state['step']}", file=sys.stderr, flush=True)

    while state["step"] < args.steps:
        total, k = state["sum"], state["next"]
        for _ in range(500_000):
            total += 1.0 / (k * k)
            k += 1
        state.update(sum=total, next=k, step=state["step"] + 1)
        if args.journal:
            with open(args.journal, "a") as journal:
                journal.write(f"{state['nonce']} {state['step']}\n")
        if leaving and state["step"] < args.steps:
            save(state)
            sys.exit(SAVED)

    print(f"sum of 1/k^2 for k up to {state['next'] - 1} = {state['sum']!r}")


if __name__ == "__main__":
    main()
