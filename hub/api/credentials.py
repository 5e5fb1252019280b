"""`POST /api/credentials/revoke`: ends tokens that somebody found in the open. Nobody has to say who they are."""

from __future__ import annotations

import json
from http import HTTPStatus

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from hub.accounts.services import revoke_leaked
from hub.api.problems import problem
from hub.texts import is_storable

MOST = 100


@csrf_exempt  # it reads no cookie: whoever holds a token may end it
@require_POST
def revoke(request: HttpRequest) -> JsonResponse:
    """`{"tokens": ["ph_…"]}`. The answer is the same whether this hub knows them or not."""
    try:
        tokens = json.loads(request.body)["tokens"]
    except (ValueError, TypeError, KeyError, RecursionError):
        tokens = None
    is_list = isinstance(tokens, list) and len(tokens) <= MOST and is_storable(tokens)
    if not is_list or not all(isinstance(token, str) for token in tokens):
        return problem(400, "bad-request", f'Send {{"tokens": ["ph_…"]}} as JSON, at most {MOST} of them.')
    revoke_leaked(tokens)
    return JsonResponse({"received": len(tokens)}, status=HTTPStatus.ACCEPTED)
