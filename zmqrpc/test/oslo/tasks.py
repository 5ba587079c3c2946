"""
Tasks of pools of processes that call: ``python -m zmqrpc.test.oslo.tasks URL HOW``.

The parent calls, then has pools call, ends them, and calls again. HOW is a start method of `multiprocessing`. It prints
who answered: the parent, the tasks of a `multiprocessing.Pool`, those of a `ProcessPoolExecutor`, the parent again.
"""

import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache

from zmqrpc.test.oslo.acts import Acts

TOPIC = "tasks"
COUNT = 12
PROCESSES = 2


@cache
def acts_with(url: str) -> Acts:
    """Return what has transports; in a fork of a process that has called it is the one that has."""
    return Acts(url)


def task(url: str, number: int) -> str:
    """Call."""
    answer: str = acts_with(url).call(TOPIC, "echo", {"value": f"task {number}"}, timeout=10)
    return answer


def main(url: str, how: str) -> None:
    """Be the parent."""
    told = [task(url, 0)]
    context = multiprocessing.get_context(how)
    # Or each of its forks would import all of it.
    context.set_forkserver_preload([Acts.__module__])
    with context.Pool(PROCESSES) as pool:
        told += pool.starmap(task, [(url, number) for number in range(COUNT)], chunksize=1)
        # They come to their ends by themselves, and are not killed.
        pool.close()
        pool.join()
    with ProcessPoolExecutor(PROCESSES, context) as executor:
        told += executor.map(task, [url] * COUNT, range(COUNT))
    told.append(task(url, 1))
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
