"""`/openapi.json` and `/docs`. `operations.operation` describes each route beside its view; `document` joins them."""
