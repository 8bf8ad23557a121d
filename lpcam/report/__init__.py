"""What a person looks at: tiles, examples worth a look, and one page."""
