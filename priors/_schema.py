"""Reading a part of a manifest against a schema: the same strictness and the same words for every part."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from priors.errors import BadManifest


class StrictConfig(BaseModel):
    """Base of the schemas: frozen, typed strictly, unknown keys refused. Their bounds keep hostile sizes out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


C = TypeVar("C", bound=StrictConfig)


def read_strict(schema: type[C], content: Mapping[str, Any], what: str, *, whole: str = "config") -> C:
    """`content` as `schema`; BadManifest names `what` it is of, the first wrong key, and the keys there are.

    whole  what is named where no key is to blame
    """
    try:
        return schema.model_validate(dict(content))
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or whole
        cause, known = first["msg"].removeprefix("Value error, "), ", ".join(schema.model_fields) or "none"
        raise BadManifest(f"{what} {where!r} is wrong ({cause}). Its keys are: {known}.") from err
