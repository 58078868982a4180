"""A forecast for every cycle, whatever the radar delivers: watching a folder, falling back, publishing, saying so."""
