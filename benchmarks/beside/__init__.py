"""What a user would otherwise pick, on the same machine, the same files and the same questions."""
