"""Pure planning: a topology in; every name, address, argument vector and step out."""

from harness.plan.make import make_plan
from harness.plan.model import Plan
from harness.plan.render import render

__all__ = ["Plan", "make_plan", "render"]
