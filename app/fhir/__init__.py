"""The FHIR face: pure functions between our definitions and R4 resources."""
