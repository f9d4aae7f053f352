"""Pure planning: a topology in; every name, address, argument vector and step out."""

from harness.plan.make import guest_images, make_plan
from harness.plan.model import Plan
from harness.plan.render import render

__all__ = ["Plan", "guest_images", "make_plan", "render"]
