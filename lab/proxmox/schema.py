"""What a method of the API accepts, and the errors for what it does not (pve-common f665029, src/PVE/JSONSchema.pm)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Parameter:
    type: str = "string"
    optional: bool = True
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    wrong: str = ""

    def fault(self, value: str) -> str:
        """Return what is wrong with a value, "" if nothing."""
        # See JSONSchema.pm:1249-1266.
        if (self.type == "integer" and not re.fullmatch(r"[+-]?\d+", value)) or (self.type == "boolean" and value not in {"0", "1"}):
            return f"type check ('{self.type}') failed - got '{value}'"
        if self.pattern and not re.fullmatch(self.pattern, value):
            return f"invalid format - {self.wrong}\n"  # 1631
        if self.type == "integer" and self.maximum is not None and int(value) > self.maximum:
            return f"value must have a maximum value of {self.maximum}"  # 1660
        if self.type == "integer" and self.minimum is not None and int(value) < self.minimum:
            return f"value must have a minimum value of {self.minimum}"  # 1667
        if self.choices and value not in self.choices:
            return f"value '{value}' does not have a value in the enumeration '{', '.join(self.choices)}'"  # 1686
        return ""


Schema = Mapping[str, Parameter]

# See JSONSchema.pm:307-317 and 347-355.
NODE = Parameter(optional=False, pattern=r"[a-zA-Z0-9]([a-zA-Z0-9\-]*[a-zA-Z0-9])?", wrong="value does not look like a valid node name")
VMID = Parameter("integer", optional=False, minimum=100, maximum=999_999_999, pattern="[1-9][0-9]{2,8}",
                 wrong="value does not look like a valid VM ID")  # fmt: skip
BOOLEAN = Parameter("boolean")
SECONDS = Parameter("integer", minimum=0)


def faults(schema: Schema, values: Mapping[str, str]) -> dict[str, str]:
    """Return the faults by parameter (JSONSchema.pm:1297-1387, 1507-1692)."""
    found = {}
    for name, parameter in schema.items():
        if name in values:
            fault = parameter.fault(values[name])
            if fault:
                found[name] = fault
        elif not parameter.optional:
            found[name] = "property is missing and it is not optional"
    for name in values:
        if name not in schema:
            found[name] = "property is not defined in schema and the schema does not allow additional properties"
    return found
