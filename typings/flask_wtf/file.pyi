from werkzeug.datastructures import FileStorage
from wtforms import Field

class FileField(Field):
    data: FileStorage | None
