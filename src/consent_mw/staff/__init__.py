"""Access of staff to a site's records. Reading personal fields needs a purpose and a reason, and leaves a trace."""
