"""What the configs of all trunks have in common.

In: a trunk's `config`, a JSON object that an admin wrote. Out: a frozen model, or InvalidInput that names every wrong
field at once. Secrets stay references to environment variables (`env:TRUNK_…`); they are not looked up here.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dialer.domain.validation import field_errors
from dialer.errors import InvalidInput

TimeoutSeconds = Annotated[float, Field(gt=0, le=15, allow_inf_nan=False)]


class TrunkConfig(BaseModel):
    """Base of each provider's trunk config. Unknown fields are refused, so that a typo is not silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """Read a trunk's config; raises InvalidInput with every wrong or unknown field."""
        try:
            return cls.model_validate(dict(config))
        except ValidationError as error:
            raise InvalidInput(field_errors(error, config, cls.model_fields)) from None


class AgentConnection(BaseModel):
    """Base of the models of an agent's `connection`: where an answered call goes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
