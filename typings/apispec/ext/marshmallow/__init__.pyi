from apispec.ext.marshmallow.openapi import OpenAPIConverter

class MarshmallowPlugin:
    Converter: type[OpenAPIConverter]
