"""Tasks that live as long as a block."""

from __future__ import annotations

from types import TracebackType

import anyio
from anyio.abc import TaskGroup


class Background:
    """A task group whose tasks end with the block, and which leaves the block's own errors as they are."""

    async def __aenter__(self) -> TaskGroup:
        self._tasks = anyio.create_task_group()
        return await self._tasks.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._tasks.cancel_scope.cancel()
        if isinstance(exc, Exception):
            # The group would wrap it, and callers could no longer catch it by its class.
            await self._tasks.__aexit__(None, None, None)
            return False
        return await self._tasks.__aexit__(exc_type, exc, traceback)
