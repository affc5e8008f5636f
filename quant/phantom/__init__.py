"""The digital abdomen: multi-echo acquisitions of a body whose every voxel is known."""

from quant.phantom.abdomen import Kind, Phantom, PhantomTruth, default_echo_times_s, make_abdomen
from quant.phantom.anatomy import AbdomenAnatomy
from quant.phantom.labels import Label, Tissue
from quant.phantom.paint import LabelledBody, Waves
from quant.phantom.stack import Orientation, SliceStack

__all__ = [
    "AbdomenAnatomy",
    "Kind",
    "Label",
    "LabelledBody",
    "Orientation",
    "Phantom",
    "PhantomTruth",
    "SliceStack",
    "Tissue",
    "Waves",
    "default_echo_times_s",
    "make_abdomen",
]
