"""What is fast and against what: every number a ratio from one interleaved run. See README.md beside this file."""
