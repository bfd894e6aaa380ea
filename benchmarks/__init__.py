"""How fast Cervella is, beside what one would otherwise pick: `make bench`."""
