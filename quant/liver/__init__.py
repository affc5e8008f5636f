"""Automatic region of liver parenchyma: precision before recall, refusal before error."""

from quant.liver.finder import find_liver, judge_liver
from quant.liver.types import LiverRegion

__all__ = ["LiverRegion", "find_liver", "judge_liver"]
