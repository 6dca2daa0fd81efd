"""Clock, caches, time limits and addresses: modules without domain knowledge."""
