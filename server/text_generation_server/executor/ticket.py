"""The ticket of executors that compute within `submit`."""

from text_generation_server.executor.step import StepResult


class CompletedTicket:
    """A step that is done already."""

    def __init__(self, result: StepResult) -> None:
        self._result = result

    def wait(self) -> StepResult:
        """The result."""
        return self._result
