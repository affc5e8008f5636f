"""Images in other transfer syntaxes, by an encoder that is not ours."""

from pathlib import Path

import gdcm


def transcode(source: Path, target: Path, syntax: str) -> Path:
    """``source`` written to ``target`` by GDCM; ``syntax`` is a name of its ``TransferSyntax``."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target
