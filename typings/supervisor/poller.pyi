class BasePoller:
    def poll(self, timeout: float) -> tuple[list[int], list[int]]: ...

Poller: type[BasePoller]
