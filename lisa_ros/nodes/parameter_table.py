"""Tables of parameters: each is declared with its range, and wrong values are refused by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter.

    Attributes:
        choices: allowed strings; empty for any.
        bounds: (least, largest) number, or None.
        read_only: set at start only.
        refusal: why a value cannot be used, empty if it can; None if there is nothing to check.
    """

    name: str
    default: Any
    description: str
    choices: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    read_only: bool = False
    refusal: Callable[[Any], str] | None = None

    def descriptor(self) -> ParameterDescriptor:
        """The descriptor that `ros2 param describe` shows."""
        descriptor = ParameterDescriptor(description=self.description, read_only=self.read_only)
        if self.choices:
            named = ", ".join(choice or "'' (empty)" for choice in self.choices)
            descriptor.additional_constraints = f"one of {named}"
        if self.bounds is not None and isinstance(self.default, float):
            least, largest = (float(bound) for bound in self.bounds)
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=least, to_value=largest, step=0.0)
            ]
        elif self.bounds is not None:
            least, largest = (int(bound) for bound in self.bounds)
            descriptor.integer_range = [IntegerRange(from_value=least, to_value=largest, step=1)]
        return descriptor


class ParameterTable:
    """Declares a table on a node, refuses wrong values with a reason, and reads it."""

    def __init__(self, node: Node, table: Sequence[ParameterSpec]) -> None:
        self._node = node
        self._specs = {spec.name: spec for spec in table}
        node.add_on_set_parameters_callback(self._check)
        for spec in table:
            try:
                node.declare_parameter(spec.name, spec.default, spec.descriptor())
            except InvalidParameterTypeException as error:
                if not isinstance(spec.default, float):
                    raise
                raise ParameterException(
                    f"{error}; a DOUBLE is written with a point, as 30.0", spec.name
                ) from error
        self._warn_of_unknown()

    def __getitem__(self, name: str) -> Any:
        return self._node.get_parameter(name).value

    def _warn_of_unknown(self) -> None:
        """Say which values were given for parameters that there are not; ROS ignores them."""
        for name in getattr(self._node, "_parameter_overrides", {}):
            if self._node.has_parameter(name) or name.startswith("qos_overrides."):
                continue
            near = difflib.get_close_matches(name, self._specs, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self._node.get_logger().warning(f"there is no parameter {name!r}: it is ignored{hint}")

    def _check(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        """Ranges and types are rclpy's business; what is left are the choices and what fits."""
        for parameter in parameters:
            spec = self._specs.get(parameter.name)
            reason = "" if spec is None else why_refused(spec, parameter.value)
            if reason:
                reason = f"{parameter.name}: {reason}"
                return SetParametersResult(successful=False, reason=reason)
        reason = self.refusal_of_all(parameters)
        return SetParametersResult(successful=not reason, reason=reason)

    def refusal_of_all(self, parameters: Sequence[Parameter]) -> str:
        """Why these values do not fit together, or to the rest; empty if they do."""
        return ""


def why_refused(spec: ParameterSpec, value: Any) -> str:
    """Why a parameter cannot have this value; empty if it can."""
    if spec.choices and value not in spec.choices:
        return (
            f"expected one of {', '.join(repr(choice) for choice in spec.choices)}, got {value!r}"
        )
    return "" if spec.refusal is None else spec.refusal(value)
