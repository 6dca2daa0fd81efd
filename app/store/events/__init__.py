"""Events in the database: writing, reading, counting, erasing."""
