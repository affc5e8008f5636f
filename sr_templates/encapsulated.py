"""The report page as Encapsulated PDF (PS3.3 A.45.1): for letters and for systems that show no images."""

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from sr_templates import codes
from sr_templates.envelope import BuildContext, Placement, stamp
from sr_templates.references import plane_refs, whole_sources

SERIES_NUMBER = 9170


def build_pdf(pdf: bytes, context: BuildContext) -> tuple[Placement, Dataset]:
    """The document ``pdf``, unchanged."""
    placement = Placement(
        role="pdf", series_number=SERIES_NUMBER, description=context.describe("Liver iron report PDF"), modality="DOC"
    )
    ds = Dataset()
    ds.SOPClassUID = EncapsulatedPDFStorage
    ds.ConversionType = "WSD"
    ds.BurnedInAnnotation = "YES"  # the page carries the patient's name
    ds.RecognizableVisualFeatures = "NO"
    ds.AcquisitionDateTime = ""
    ds.DocumentTitle = "Liver iron by MRI"
    ds.VerificationFlag = "UNVERIFIED"
    ds.ConceptNameCodeSequence = [codes.DIAGNOSTIC_IMAGING_STUDY]
    ds.SourceInstanceSequence = whole_sources(context.source, plane_refs(context.source), codes.SOURCE_FOR_PROCESSING)
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocumentLength = len(pdf)
    ds.EncapsulatedDocument = pdf + b"\x00" * (len(pdf) % 2)
    stamp(ds, context, placement)
    del ds.BodyPartExamined  # the IOD has no place for it
    return placement, ds
