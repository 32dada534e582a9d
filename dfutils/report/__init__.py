"""Reports: pages and tables for people."""
