"""Reports as HTML pages: one file, no scripts, nothing from elsewhere."""
