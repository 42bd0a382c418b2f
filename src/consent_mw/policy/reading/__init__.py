"""The parts of a declaration as they are read: one module for each subject, `tables` for what they share."""
