"""What `make check` runs beside well-known tools."""
