from pathlib import Path
from wsgiref.types import WSGIApplication

def load_target(target: str, wd: Path | None = ..., factory: bool = ...) -> WSGIApplication: ...
