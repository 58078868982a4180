"""What any part may need of the machine it runs on; only ``errors`` is imported from nowcast."""
