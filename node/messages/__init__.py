"""Results as messages: what a result set on disk says, as HL7 v2 and as FHIR."""
