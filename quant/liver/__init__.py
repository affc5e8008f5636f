"""Automatic region of liver parenchyma: precision before recall, refusal before error."""

from quant.liver.finder import check_region, find_liver, judge_liver
from quant.liver.native import not_measured
from quant.liver.types import LiverRegion

__all__ = ["LiverRegion", "check_region", "find_liver", "judge_liver", "not_measured"]
