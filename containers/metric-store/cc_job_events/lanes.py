"""Events in order: everything of one job one after the other, different jobs side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Lanes(Generic[Item, Answer]):
    """A fixed number of workers with a queue each; `work` runs in a thread."""

    def __init__(self, count: int, work: Callable[[Item], Answer]) -> None:
        self.count = max(1, count)
        self._work = work
        self._queues: list[asyncio.Queue[tuple[Item, asyncio.Future[Answer]]]] = [
            asyncio.Queue() for _ in range(self.count)
        ]
        self._workers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._workers = [asyncio.create_task(self._run(queue)) for queue in self._queues]

    def put(self, lane: int, item: Item) -> asyncio.Future[Answer]:
        """Queue the item; the future tells what `work` answered. Order of calls is order of work."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queues[lane].put_nowait((item, future))
        return future

    async def _run(self, queue: asyncio.Queue[tuple[Item, asyncio.Future[Answer]]]) -> None:
        while True:
            item, future = await queue.get()
            try:
                answer = await asyncio.to_thread(self._work, item)
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(answer)
            finally:
                queue.task_done()

    async def stop(self) -> None:
        """Wait for what is queued, then end the workers."""
        for queue in self._queues:
            await queue.join()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
