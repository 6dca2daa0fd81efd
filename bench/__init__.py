"""What the service is measured and tried with: benchmarks against limits of the same run, and a made-up stream.

Nothing in `app` imports from here.
"""
