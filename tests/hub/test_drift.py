"""What is committed must be what the code says."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.conf import settings
from django.core.management import call_command


def test_the_committed_openapi_description_is_the_current_one() -> None:
    out = StringIO()
    call_command("openapi", stdout=out)

    committed = (settings.BASE_DIR / "docs" / "openapi.json").read_text(encoding="utf-8")

    assert json.loads(committed) == json.loads(out.getvalue()), "run: python manage.py openapi > docs/openapi.json"


@pytest.mark.django_db
def test_every_change_of_a_model_has_its_migration() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
