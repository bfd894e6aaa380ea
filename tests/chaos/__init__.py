"""Kill writers at random moments while readers read: `make chaos N=200`."""
