"""What staff may read of a site: personal fields take a purpose and a reason, and leave a trace."""
