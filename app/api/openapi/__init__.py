"""`/openapi.json` and `/docs`. `operations.Operation` describes each route beside its view; `document` joins them."""
