"""model/fields: a model of the round's own surest fields, which judges the others."""
