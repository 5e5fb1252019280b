#!/usr/bin/env python
"""Administer the hub: `manage.py up` starts all of it, `manage.py help` lists the rest."""

import gc
import os
import sys

if __name__ == "__main__":
    gc.set_threshold(500_000)  # a start makes many objects and no garbage: looking for it took a tenth of the time
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
