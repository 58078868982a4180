"""What every part of nowcast may need of the machine it runs on; it imports nothing of nowcast but ``errors``."""
