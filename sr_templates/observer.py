"""Who observed, in documents: this software."""

import highdicom as hd
from highdicom.sr import ObserverContext

from sr_templates import codes, identity
from sr_templates.envelope import BuildContext


def device_observer(context: BuildContext) -> ObserverContext:
    """The software as device observer (TID 1004)."""
    result = context.result
    attributes = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=identity.device_uid(result.software_version, result.method_version),
        name=identity.MANUFACTURER,
        manufacturer_name=identity.MANUFACTURER,
        model_name=identity.MODEL_NAME,
        serial_number=f"software {result.software_version}",
    )
    return hd.sr.ObserverContext(observer_type=codes.DEVICE, observer_identifying_attributes=attributes)
