"""A constraint of a space: comparisons of sums, products and ratios, `lora_alpha / lora_rank >= 0.5`.

The text is parsed by `ast`, and only the few kinds of syntax below are allowed. It is evaluated by walking
the syntax tree, and never executed.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from orchestrator.contract.assignment import Value
from orchestrator.errors import near

_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.LtE: operator.le,
    ast.Lt: operator.lt,
    ast.GtE: operator.ge,
    ast.Gt: operator.gt,
}
_LONGEST = 200  # characters; so nesting cannot exhaust Python's recursion limit below


@dataclass(frozen=True)
class Constraint:
    """One comparison, or a chain of them, such as `1 <= a / b <= 2`.

    Attributes:
        text: the constraint as written in the study file.
        names: the names of parameters and fixed values in it.
    """

    text: str
    names: frozenset[str] = field(init=False)
    _root: ast.Compare = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Parse `text`.

        Raises:
            ValueError: it is not a comparison of arithmetic expressions, or it is too long.
        """
        if len(self.text) > _LONGEST:
            raise ValueError(f"is longer than {_LONGEST} characters: split it")
        try:
            root = ast.parse(self.text.strip(), mode="eval").body
        except (SyntaxError, ValueError) as error:
            raise ValueError(f"`{self.text}` is not an expression: {error.args[0]}") from None
        if not isinstance(root, ast.Compare):
            raise ValueError(f"`{self.text}` compares nothing: write it with <=, <, >= or >")  # noqa: TRY004 — one error for all
        names = frozenset(name for part in (root.left, *root.comparators) for name in self._names(part))
        for comparison in root.ops:
            if type(comparison) not in _COMPARISONS:
                raise ValueError(f"`{self.text}`: only <=, <, >= and > compare here")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "_root", root)

    def _names(self, node: ast.expr) -> Iterator[str]:
        """Yield the names in an expression.

        Raises:
            ValueError: a part of it is neither a name, a number nor an arithmetic operation.
        """
        match node:
            case ast.Name(id=name):
                yield name
            case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
                pass
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                yield from self._names(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                yield from self._names(left)
                yield from self._names(right)
            case _:
                piece = ast.unparse(node)
                raise ValueError(f"`{self.text}`: `{piece}` is not allowed: names, numbers, + - * / ( ) are")

    def unknown(self, numbers: Iterable[str], others: Iterable[str]) -> str | None:
        """What is wrong with the first name that is not in `numbers`; None if all of them are.

        Args:
            numbers: names of numeric parameters and fixed numbers.
            others: names of parameters and fixed values that are not numbers; those of `numbers` may be
                among them.
        """
        numbers, others = list(numbers), set(others)
        for name in sorted(self.names - set(numbers)):
            if name in others:
                return f"`{self.text}`: {name} is not a number"
            return f'`{self.text}`: no number is called "{name}"{near(name, numbers)}'
        return None

    def holds(self, configuration: Mapping[str, Value]) -> bool:
        """True if `configuration` satisfies the constraint.

        It does not apply to a configuration that lacks one of its names: then the answer is True as well. If
        its value cannot be computed (division by zero, overflow), the answer is False.
        """
        if not self.names <= configuration.keys():
            return True
        root = self._root
        try:
            values = [_value(part, configuration) for part in (root.left, *root.comparators)]
        except (ZeroDivisionError, OverflowError):
            return False
        pairs = zip(root.ops, values, values[1:], strict=False)
        return all(_COMPARISONS[type(comparison)](left, right) for comparison, left, right in pairs)


def _value(node: ast.expr, configuration: Mapping[str, Value]) -> float:
    """The value of an expression that `_names` has accepted."""
    match node:
        case ast.Name():
            number = configuration[node.id]
        case ast.Constant():
            number = node.value  # type: ignore[assignment] # a number: `_names` has checked it
        case ast.UnaryOp():
            return -_value(node.operand, configuration)
        case ast.BinOp():
            left, right = _value(node.left, configuration), _value(node.right, configuration)
            return _ARITHMETIC[type(node.op)](left, right)
    assert isinstance(number, int | float)
    return number
