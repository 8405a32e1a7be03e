"""The dashboard: the pages from which people watch, ask and operate, and who may see them."""
