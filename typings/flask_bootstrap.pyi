from flask import Flask

class Bootstrap5:
    def __init__(self, app: Flask | None = ...) -> None: ...
