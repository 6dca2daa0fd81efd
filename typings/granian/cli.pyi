from granian.server.mp import MPServer

Server: type[MPServer]

def entrypoint() -> None: ...
