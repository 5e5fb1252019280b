from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand

from hub.api.urls import api


class Command(BaseCommand):
    help = "Print the API's OpenAPI description; docs/openapi.json holds a copy that a test compares."

    def handle(self, *args: Any, **options: Any) -> None:
        schema = api.get_openapi_schema(path_prefix="/api/v1/")
        self.stdout.write(json.dumps(schema, indent=1, sort_keys=True))
