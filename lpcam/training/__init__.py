"""What the tool trains itself."""
