"""What comes in, checked by marshmallow, and what goes out, in its exact order of keys."""
