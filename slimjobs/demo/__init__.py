"""The outage that slimjobs prevents, happening and not happening: what `slimjobs demo` runs."""
