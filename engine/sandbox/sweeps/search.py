"""Which parameters the next run of a sweep gets.

Grid search walks all combinations in order. Random search draws. Bayesian search draws as well: the
sandbox answers like W&B, it does not optimise like W&B.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import yaml

from engine.sandbox.refusals import bad_request

METHODS = ("grid", "random", "bayes")

Parameters: TypeAlias = Mapping[str, Any]

_DRAWS: dict[str, Callable[[random.Random, Parameters], Any]] = {
    "uniform": lambda rng, p: rng.uniform(p["min"], p["max"]),
    "int_uniform": lambda rng, p: rng.randint(p["min"], p["max"]),
    "q_uniform": lambda rng, p: round(rng.uniform(p["min"], p["max"]) / p.get("q", 1)) * p.get("q", 1),
    "log_uniform": lambda rng, p: math.exp(rng.uniform(p["min"], p["max"])),
    "log_uniform_values": lambda rng, p: math.exp(rng.uniform(math.log(p["min"]), math.log(p["max"]))),
    "normal": lambda rng, p: rng.gauss(p.get("mu", 0), p.get("sigma", 1)),
    "log_normal": lambda rng, p: rng.lognormvariate(p.get("mu", 0), p.get("sigma", 1)),
}


def parse(text: str) -> dict[str, Any]:
    """A sweep's configuration.

    Raises:
        Refusal: 400, it is not YAML, or nothing that could be searched.
    """
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise bad_request(f"the sweep config is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise bad_request("the sweep config must be a mapping")
    method, parameters = config.get("method"), config.get("parameters")
    if method not in METHODS:
        raise bad_request(f"invalid sweep config: method must be one of {', '.join(METHODS)}, not {method!r}")
    if not isinstance(parameters, dict) or not parameters:
        raise bad_request("invalid sweep config: it has no parameters")
    if method == "grid":
        grid_size(parameters)
    else:
        draw(parameters, random.Random(0))
    return config


def grid_size(parameters: Parameters) -> int:
    """How many combinations a grid has."""
    return math.prod(len(_values(name, p)) for name, p in parameters.items())


def grid_point(parameters: Parameters, index: int) -> dict[str, Any]:
    """A combination by its number; the last parameter varies fastest."""
    axes = [_values(name, p) for name, p in parameters.items()]
    point = next(itertools.islice(itertools.product(*axes), index, None))
    return dict(zip(parameters, point, strict=True))


def draw(parameters: Parameters, rng: random.Random) -> dict[str, Any]:
    """A value for every parameter."""
    return {name: _draw_one(name, p, rng) for name, p in parameters.items()}


def _values(name: str, parameter: Any) -> list[Any]:
    if isinstance(parameter, dict):
        if "parameters" in parameter:
            nested = parameter["parameters"]
            return [grid_point(nested, index) for index in range(grid_size(nested))]
        if "value" in parameter:
            return [parameter["value"]]
        if isinstance(parameter.get("values"), list) and parameter["values"]:
            return list(parameter["values"])
        if {"min", "max"} <= parameter.keys() and _distribution(parameter) == "int_uniform":
            return list(range(parameter["min"], parameter["max"] + 1))
    raise bad_request(f"invalid sweep config: grid search needs value or values for parameter {name!r}")


def _draw_one(name: str, parameter: Any, rng: random.Random) -> Any:
    if not isinstance(parameter, dict):
        raise bad_request(f"invalid sweep config: parameter {name!r} must be a mapping")
    if "parameters" in parameter:
        return draw(parameter["parameters"], rng)
    if "value" in parameter:
        return parameter["value"]
    if parameter.get("values"):
        return rng.choices(parameter["values"], parameter.get("probabilities"))[0]
    try:
        return _DRAWS[_distribution(parameter)](rng, parameter)
    except (KeyError, TypeError, ValueError) as error:
        raise bad_request(
            f"invalid sweep config: parameter {name!r} cannot be drawn from {parameter!r}"
        ) from error


def _distribution(parameter: Parameters) -> str:
    whole = all(isinstance(parameter.get(bound), int) for bound in ("min", "max"))
    return str(parameter.get("distribution") or ("int_uniform" if whole else "uniform"))
